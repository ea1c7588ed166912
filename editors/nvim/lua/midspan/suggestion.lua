-- Which text each answer of the server is about, and what accepting it would change.
--
-- Neovim 0.12 shows an answer that arrives late and applies it to whatever the buffer holds by then: text typed
-- within its 200 ms debounce stays behind (neovim/neovim#36529). Here every request remembers the line it was
-- made for; an answer is shown, kept and accepted only while that line has changed in no other way than towards
-- the suggested text. Knows nothing of keys, commands or settings.
local api = vim.api
local M = {}

local method = 'textDocument/inlineCompletion'
local namespace = api.nvim_create_namespace('nvim.lsp.inline_completion')

---The cursor's line, cut at the cursor. Rows count from 0; columns are bytes.
---@class (exact) midspan.Snapshot
---@field row integer
---@field before string
---@field after string

---What the server said about one snapshot.
---@class (exact) midspan.Answer
---@field client vim.lsp.Client
---@field snapshot midspan.Snapshot
---@field items lsp.InlineCompletionItem[]
---@field show fun(items: lsp.InlineCompletionItem[]) Hands items to Neovim's ghost text in place of these.

---An item placed in the present line: bytes [start, stop) of row become text, of which `typed` is there already.
---@class (exact) midspan.Fit
---@field row integer
---@field start integer
---@field stop integer
---@field text string
---@field typed string

---@class (exact) midspan.Request
---@field client vim.lsp.Client
---@field id? integer
---@field handler lsp.Handler Neovim's own, good for another request of the same buffer.
---@field send function The client's own `request`.

local superseded = {
  [vim.lsp.protocol.ErrorCodes.RequestCancelled] = true,
  [vim.lsp.protocol.ErrorCodes.ContentModified] = true,
  [vim.lsp.protocol.ErrorCodes.ServerCancelled] = true,
}

local answers = {} ---@type table<integer, midspan.Answer?>
local requests = {} ---@type table<integer, midspan.Request?>

---@param bufnr integer
---@return midspan.Snapshot?
function M.snapshot(bufnr)
  local win = api.nvim_get_current_win()
  if api.nvim_win_get_buf(win) ~= bufnr then
    return nil
  end
  local row, col = unpack(api.nvim_win_get_cursor(win))
  local line = api.nvim_get_current_line()
  return { row = row - 1, before = line:sub(1, col), after = line:sub(col + 1) }
end

---@param item lsp.InlineCompletionItem
---@return string? text nil for snippets, which Neovim would insert without their range
local function plain_text(item)
  local text = item.insertText
  return type(text) == 'string' and (text:gsub('\r\n?', '\n')) or nil
end

---Places an item in the present line, or returns nil when the line has changed in another way than towards it.
---@param answer midspan.Answer
---@param item lsp.InlineCompletionItem
---@param now midspan.Snapshot?
---@return midspan.Fit?
function M.fit(answer, item, now)
  local was, text = answer.snapshot, plain_text(item)
  if not now or not text or now.row ~= was.row or now.after ~= was.after then
    return nil
  end
  local start, stop = #was.before, #was.before
  if item.range then
    if item.range.start.line ~= was.row or item.range['end'].line ~= was.row then
      return nil
    end
    local line, encoding = was.before .. was.after, answer.client.offset_encoding
    start = vim.str_byteindex(line, encoding, item.range.start.character, false)
    stop = vim.str_byteindex(line, encoding, item.range['end'].character, false)
    if start > #was.before or stop < #was.before then
      return nil
    end
  end
  if now.before:sub(1, start) ~= was.before:sub(1, start) then
    return nil
  end
  local typed = now.before:sub(start + 1)
  if not vim.startswith(text, typed) then
    return nil
  end
  return { row = now.row, start = start, stop = stop + #now.before - #was.before, text = text, typed = typed }
end

---@param answer midspan.Answer
---@param now midspan.Snapshot?
---@return lsp.InlineCompletionItem[] those that still fit
local function fitting(answer, now)
  return vim.tbl_filter(function(item)
    return M.fit(answer, item, now) ~= nil
  end, answer.items)
end

---Finds where the item that Neovim is about to accept came from.
---@param bufnr integer
---@param current vim.lsp.inline_completion.Item
---@return midspan.Answer?
---@return lsp.InlineCompletionItem?
function M.origin(bufnr, current)
  local answer = answers[bufnr]
  if not answer or answer.client.id ~= current.client_id then
    return nil
  end
  for _, item in ipairs(answer.items) do
    if vim.deep_equal(item.insertText, current.insert_text) then
      return answer, item
    end
  end
end

---Puts one item, about the present line, in place of all others.
---@param bufnr integer
---@param answer midspan.Answer
---@param item lsp.InlineCompletionItem
function M.continue(bufnr, answer, item)
  local now = assert(M.snapshot(bufnr))
  answers[bufnr] = { client = answer.client, snapshot = now, items = { item }, show = answer.show }
  answer.show({ item })
end

---@param bufnr integer
function M.withdraw(bufnr)
  local answer = answers[bufnr]
  if answer then
    answers[bufnr] = nil
    answer.show({})
  end
end

---Takes away ghost text that the user has typed past or moved away from.
---@param bufnr integer
function M.review(bufnr)
  local answer = answers[bufnr]
  if answer and #fitting(answer, M.snapshot(bufnr)) == 0 then
    M.withdraw(bufnr)
  end
end

---Looks at the text as it is now: with keys typed ahead, Neovim reports no change before the next key is run.
---@param bufnr integer
---@return boolean shown whether there is ghost text with anything left to accept
function M.visible(bufnr)
  M.review(bufnr)
  for _, mark in ipairs(api.nvim_buf_get_extmarks(bufnr, namespace, 0, -1, { details = true })) do
    local details = mark[4] or {}
    local chunk = details.virt_text and details.virt_text[1]
    if (chunk and chunk[1] ~= '') or (details.virt_lines and #details.virt_lines > 0) then
      return true
    end
  end
  return false
end

---@param bufnr integer
---@return integer count how many items the last answer held
function M.count(bufnr)
  local answer = answers[bufnr]
  return answer and #answer.items or 0
end

---Passes an answer on to Neovim as far as it still fits, and remembers what it is about.
---@param request midspan.Request
---@param bufnr integer
---@param asked midspan.Snapshot
---@param answered? fun()
---@return lsp.Handler
local function guarded(request, bufnr, asked, answered)
  return function(err, result, context)
    if err then
      if not superseded[err.code] then
        request.handler(err, result, context)
      end
      return
    end
    local now = api.nvim_buf_is_valid(bufnr) and M.snapshot(bufnr)
    if not now or not vim.startswith(api.nvim_get_mode().mode, 'i') then
      return
    end
    local answer = { ---@type midspan.Answer
      client = request.client,
      snapshot = asked,
      items = result and (result.items or result) or {},
      show = function(items)
        if request.client.attached_buffers[bufnr] then
          request.handler(nil, { items = items }, context)
        end
      end,
    }
    answer.items = fitting(answer, now)
    -- "Nothing" about the present line takes older ghost text away; about an earlier line it says nothing.
    if #answer.items > 0 or vim.deep_equal(asked, now) then
      answers[bufnr] = answer
      answer.show(answer.items)
    end
    if answered then
      answered()
    end
  end
end

---@param send fun(client: vim.lsp.Client, method: string, params: table, handler: lsp.Handler, bufnr: integer)
---@param client vim.lsp.Client
---@param bufnr integer
---@param params table
---@param handler lsp.Handler
---@param answered? fun()
---@return boolean sent
---@return integer? id
local function ask(send, client, bufnr, params, handler, answered)
  -- Neovim cancels on leaving insert mode only; without this, typing piles up requests nobody waits for.
  local previous = requests[bufnr]
  if previous and previous.id and previous.client == client and client.requests[previous.id] then
    client:cancel_request(previous.id)
  end
  local request = { client = client, handler = handler, send = send } ---@type midspan.Request
  requests[bufnr] = request
  local sent, id = send(client, method, params, guarded(request, bufnr, assert(M.snapshot(bufnr)), answered), bufnr)
  request.id = id
  return sent, id
end

---Asks again as an explicit request, for which a server gives alternatives; the answer shows like any other.
---@param bufnr integer
---@param answered? fun()
---@return boolean asked
function M.invoke(bufnr, answered)
  local request = requests[bufnr]
  if not request or request.client:is_stopped() or not M.snapshot(bufnr) then
    return false
  end
  local params = vim.lsp.util.make_position_params(0, request.client.offset_encoding)
  params.context = { triggerKind = vim.lsp.protocol.InlineCompletionTriggerKind.Invoked }
  return (ask(request.send, request.client, bufnr, params, request.handler, answered))
end

---Makes the client remember what each of its inline completion requests is about.
---@param client vim.lsp.Client
function M.watch(client)
  local send = client.request
  client.request = function(self, name, params, handler, bufnr)
    local buffer = (bufnr == nil or bufnr == 0) and api.nvim_get_current_buf() or bufnr
    if self == client and name == method and handler and M.snapshot(buffer) then
      return ask(send, client, buffer, params, handler)
    end
    return send(self, name, params, handler, bufnr)
  end
end

---@param bufnr integer
function M.forget_answer(bufnr)
  answers[bufnr] = nil
end

---@param bufnr integer
function M.forget(bufnr)
  answers[bufnr] = nil
  requests[bufnr] = nil
end

return M
