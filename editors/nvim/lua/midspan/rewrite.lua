-- Rewriting code on request. The server computes the edit and asks Neovim to apply it; here it is only asked for.
local api = vim.api
local M = {}

local COMMAND = 'midspan.rewrite'

---@class (exact) midspan.Running
---@field client vim.lsp.Client
---@field id integer
---@field done fun(problem: string?)

local running = {} ---@type table<integer, midspan.Running?> by buffer

---@class (exact) midspan.RewriteOptions
---@field instruction? string What is wanted, in words; needs a model that follows instructions.
---@field strength? number The share that is written anew, above 0 and up to 1.
---@field lines? [integer, integer] First and last line, counted from 1; default: the visual selection, or the cursor's line.
---@field on_done? fun(problem: string?) Called when it is over; without it a problem is shown.

---@param message string
local function tell(message)
  vim.notify('midspan: ' .. message, vim.log.levels.WARN)
end

---@return [integer, integer, integer, integer] range row, byte column, row, byte column; from 0, the end exclusive
local function selected()
  local mode = api.nvim_get_mode().mode
  local here, there = vim.fn.getpos('.'), vim.fn.getpos('v')
  if mode == 'v' then
    local from, to = there, here
    if from[2] > to[2] or (from[2] == to[2] and from[3] > to[3]) then
      from, to = to, from
    end
    local line = api.nvim_buf_get_lines(0, to[2] - 1, to[2], false)[1] or ''
    local stop = math.min(to[3], #line)
    return { from[2] - 1, from[3] - 1, to[2] - 1, stop > 0 and stop + vim.str_utf_end(line, stop) or 0 }
  end
  local first, last = math.min(here[2], there[2]), math.max(here[2], there[2])
  return M.of_lines(first, last)
end

---@param first integer
---@param last integer
---@return [integer, integer, integer, integer]
function M.of_lines(first, last)
  local line = api.nvim_buf_get_lines(0, last - 1, last, false)[1] or ''
  return { first - 1, 0, last - 1, #line }
end

---@param bufnr integer
---@param client vim.lsp.Client
---@param row integer
---@param column integer bytes
local function position(bufnr, client, row, column)
  local line = api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1] or ''
  return { line = row, character = vim.str_utfindex(line, client.offset_encoding, math.min(column, #line), false) }
end

---Asks for the selection (in visual mode), the given lines or the cursor's line to be written anew, in the current
---buffer. Returns at once; an edit meanwhile, or `cancel()`, calls it off.
---@param options? midspan.RewriteOptions
---@return boolean asked
function M.rewrite(options)
  options = options or {}
  local bufnr = api.nvim_get_current_buf()
  local done = options.on_done or function(problem)
    if problem then
      tell(problem)
    end
  end
  local client = vim.lsp.get_clients({ name = 'midspan', bufnr = bufnr })[1]
  if not client then
    done('no server is attached to this buffer; see :checkhealth midspan')
    return false
  end
  local commands = vim.tbl_get(client, 'server_capabilities', 'executeCommandProvider', 'commands') or {}
  if not vim.list_contains(commands, COMMAND) then
    done('this server cannot rewrite code')
    return false
  end
  local range = options.lines and M.of_lines(options.lines[1], options.lines[2]) or selected()
  local instruction = options.instruction and vim.trim(options.instruction) or ''
  M.cancel(bufnr)
  local id ---@type integer?
  ---@param problem? string
  local function over(problem)
    if running[bufnr] and running[bufnr].id == id then
      running[bufnr] = nil
      done(problem)
    end
  end
  local asked
  asked, id = client:request('workspace/executeCommand', {
    command = COMMAND,
    arguments = {
      {
        uri = vim.uri_from_bufnr(bufnr),
        version = vim.lsp.util.buf_versions[bufnr],
        range = {
          start = position(bufnr, client, range[1], range[2]),
          ['end'] = position(bufnr, client, range[3], range[4]),
        },
        instruction = instruction ~= '' and instruction or nil,
        strength = options.strength,
      },
    },
  }, function(err)
    over(err and err.message or nil)
  end, bufnr)
  if asked and id then
    running[bufnr] = { client = client, id = id, done = done }
    -- Neovim drops the answer that a request was cancelled, as it is when the user cancels the server's progress bar,
    -- but tells of the request's end.
    api.nvim_create_autocmd('LspRequest', {
      buffer = bufnr,
      callback = function(event)
        if event.data.client_id ~= client.id or event.data.request_id ~= id then
          return
        end
        if event.data.request.type == 'complete' then
          vim.schedule(over)
          return true -- the autocommand has done its work
        end
      end,
    })
  end
  return asked
end

---Calls off what is being rewritten, also as a code action.
---@param bufnr? integer default: the current buffer
---@return boolean cancelled false when there is nothing
function M.cancel(bufnr)
  bufnr = bufnr or api.nvim_get_current_buf()
  local found, cancelled = running[bufnr], false
  running[bufnr] = nil
  if found then
    found.client:cancel_request(found.id)
    found.done()
    cancelled = true
  end
  for _, client in ipairs(vim.lsp.get_clients({ name = 'midspan', bufnr = bufnr })) do
    for id, request in pairs(client.requests) do
      if request.type == 'pending' and request.bufnr == bufnr and request.method == 'codeAction/resolve' then
        client:cancel_request(id)
        cancelled = true
      end
    end
  end
  return cancelled
end

return M
