-- Midspan in Neovim: `require('midspan').setup()` and what one can map to keys.
local accept = require('midspan.accept')
local server = require('midspan.server')
local suggestion = require('midspan.suggestion')
local M = {}

local state = {
  enabled = true,
  config = nil, ---@type midspan.Config?
  problems = {}, ---@type string[]
}

---@param bufnr integer
---@param client vim.lsp.Client
local function attach(bufnr, client)
  server.add_workspace_folder(client, bufnr)
  vim.lsp.inline_completion.enable(true, { bufnr = bufnr })
  if not state.enabled then
    server.enable(client, false)
  end
  if state.config then
    require('midspan.keys').map(bufnr, state.config.keys)
  end
end

local function watch_clients()
  local group = vim.api.nvim_create_augroup('midspan', { clear = true })
  local watched = {} ---@type table<integer, true>
  local function if_ours(act)
    return function(event)
      local client = vim.lsp.get_client_by_id(event.data.client_id)
      if client and client.name == 'midspan' then
        act(event.buf, client)
      end
    end
  end
  vim.api.nvim_create_autocmd('LspAttach', {
    group = group,
    callback = if_ours(function(bufnr, client)
      if not watched[client.id] then
        watched[client.id] = true
        suggestion.watch(client)
      end
      attach(bufnr, client)
    end),
  })
  vim.api.nvim_create_autocmd('LspDetach', { group = group, callback = if_ours(suggestion.forget) })
  vim.api.nvim_create_autocmd({ 'TextChangedI', 'TextChangedP', 'CursorMovedI' }, {
    group = group,
    callback = function(event)
      suggestion.review(event.buf)
    end,
  })
  vim.api.nvim_create_autocmd('InsertLeave', {
    group = group,
    callback = function(event)
      suggestion.forget_answer(event.buf)
    end,
  })
end

---Starts Midspan for all its file types. Wrong options are reported once; their defaults stay.
---@param options? midspan.Options
function M.setup(options)
  if vim.fn.has('nvim-0.12') == 0 then
    vim.notify('midspan: Neovim 0.12 or later is needed', vim.log.levels.ERROR)
    return
  end
  state.config, state.problems = require('midspan.config').resolve(options)
  state.enabled = state.config.enabled
  vim.lsp.config('midspan', server.lsp_config(state.config))
  local problems = vim.list_slice(state.problems)
  local cmd = vim.lsp.config.midspan.cmd
  if type(cmd) == 'table' and vim.fn.executable(cmd[1]) == 0 then
    problems[#problems + 1] = ('%s is not executable; see :checkhealth midspan'):format(cmd[1])
  end
  if #problems > 0 then
    vim.notify('midspan: ' .. table.concat(problems, '; '), vim.log.levels.WARN)
  end
  watch_clients()
  vim.lsp.enable('midspan')
end

---Whether ghost text stands in the current buffer.
---@return boolean
function M.is_visible()
  return suggestion.visible(vim.api.nvim_get_current_buf())
end

---@return boolean
function M.is_enabled()
  return state.enabled
end

---@return midspan.Config? config nil before setup()
---@return string[] problems found in what setup() was given
function M.config()
  return state.config, state.problems
end

---Turns suggestions on or off in all buffers; while off, nothing is asked of the server and it holds no model.
---@param enabled? boolean the other way round when left out
function M.toggle(enabled)
  if enabled == nil then
    enabled = not state.enabled
  end
  state.enabled = enabled
  for _, client in ipairs(server.clients()) do
    for bufnr in pairs(client.attached_buffers) do
      suggestion.forget(bufnr)
    end
    server.enable(client, enabled)
  end
end

---@return boolean accepted
function M.accept()
  return accept.accept('all')
end

---@return boolean accepted
function M.accept_word()
  return accept.accept('word')
end

---@return boolean accepted
function M.accept_line()
  return accept.accept('line')
end

---@return boolean cycled
function M.next()
  return accept.cycle(1)
end

---@return boolean cycled
function M.prev()
  return accept.cycle(-1)
end

---@return boolean dismissed
function M.dismiss()
  return accept.dismiss()
end

---Has the visual selection, the given lines or the cursor's line written anew.
---@param options? midspan.RewriteOptions
---@return boolean asked
function M.rewrite(options)
  return require('midspan.rewrite').rewrite(options)
end

---@return boolean cancelled
function M.cancel_rewrite()
  return require('midspan.rewrite').cancel()
end

return M
