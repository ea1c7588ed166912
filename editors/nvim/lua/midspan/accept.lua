-- Taking a suggestion, whole or a piece at a time. Knows nothing of keys.
local api = vim.api
local suggestion = require('midspan.suggestion')
local M = {}

---@alias midspan.Piece 'all'|'word'|'line'

---@param rest string What is left to accept, from the cursor on.
---@param piece midspan.Piece
---@return string taken a prefix of rest, not empty unless rest is
local function take(rest, piece)
  if piece == 'word' then
    local word = vim.fn.matchstr(rest, [=[^\_s*\(\k\+\|[^[:keyword:][:space:]]\+\)]=])
    return word ~= '' and word or rest
  elseif piece == 'line' then
    return (rest:match('^\n?[^\n]*'))
  end
  return rest
end

---Ends the undo step, so that one undo takes back what was accepted and nothing else.
local function close_undo_step()
  vim.bo.undolevels = vim.bo.undolevels
end

---Replaces bytes [start, stop) of a row and puts the cursor after the new text.
---@param bufnr integer
---@param row integer
---@param start integer
---@param stop integer
---@param text string
local function replace(bufnr, row, start, stop, text)
  local lines = vim.split(text, '\n', { plain = true })
  close_undo_step()
  api.nvim_buf_set_text(bufnr, row, start, row, stop, lines)
  api.nvim_win_set_cursor(0, { row + #lines, (#lines == 1 and start or 0) + #lines[#lines] })
  close_undo_step()
end

---@param a string
---@param b string
---@return integer bytes that both begin with, cut at a whole character of each
local function common_prefix(a, b)
  local length = 0
  while length < math.min(#a, #b) and a:byte(length + 1) == b:byte(length + 1) do
    length = length + 1
  end
  for _, text in ipairs({ a, b }) do
    if length < #text then
      length = length + vim.str_utf_start(text, length + 1)
    end
  end
  return length
end

---@param bufnr integer
---@param answer midspan.Answer
---@param item lsp.InlineCompletionItem
---@param fit midspan.Fit
local function accept_all(bufnr, answer, item, fit)
  suggestion.forget_answer(bufnr)
  replace(bufnr, fit.row, fit.start, fit.stop, fit.text)
  if item.command then
    answer.client:exec_cmd(item.command, { bufnr = bufnr })
  end
end

---Types `taken` for the user and keeps the rest on offer. What the item replaces right of the cursor stays there
---until the last piece, as it would under typing.
---@param bufnr integer
---@param answer midspan.Answer
---@param item lsp.InlineCompletionItem
---@param fit midspan.Fit
---@param taken string
local function accept_part(bufnr, answer, item, fit, taken)
  local now = assert(suggestion.snapshot(bufnr))
  local column = #now.before
  local over = common_prefix(taken, now.after:sub(1, fit.stop - column))
  replace(bufnr, fit.row, column, column + over, taken)

  local present = assert(suggestion.snapshot(bufnr))
  local line, encoding = present.before .. present.after, answer.client.offset_encoding
  local function position(byte)
    return { line = present.row, character = vim.str_utfindex(line, encoding, byte, false) }
  end
  suggestion.continue(bufnr, answer, {
    insertText = fit.text:sub(#fit.typed + #taken + 1),
    range = {
      start = position(#present.before),
      ['end'] = position(#present.before + fit.stop - column - over),
    },
    command = item.command,
  })
end

---Accepts the ghost text, or its next word or line. Not for `<expr>` mappings: it changes the buffer at once.
---@param piece? midspan.Piece
---@return boolean accepted false when nothing is shown
function M.accept(piece)
  local bufnr = api.nvim_get_current_buf()
  if not suggestion.visible(bufnr) then
    return false
  end
  local accepted, done = false, false
  local found = vim.lsp.inline_completion.get({
    bufnr = bufnr,
    on_accept = function(current)
      local client = vim.lsp.get_client_by_id(current.client_id)
      if not client or client.name ~= 'midspan' then
        accepted = true
        return current
      end
      local answer, item = suggestion.origin(bufnr, current)
      local fit = answer and item and suggestion.fit(answer, item, suggestion.snapshot(bufnr))
      if not answer or not item or not fit then
        suggestion.withdraw(bufnr)
        return nil
      end
      accepted = true
      local rest = fit.text:sub(#fit.typed + 1)
      local taken = take(rest, piece or 'all')
      if #taken == #rest then
        accept_all(bufnr, answer, item, fit)
      else
        accept_part(bufnr, answer, item, fit, taken)
      end
      return nil
    end,
  })
  -- get() schedules; waiting for what is scheduled after it keeps keys typed ahead behind the accepted text.
  if found then
    vim.schedule(function()
      done = true
    end)
    vim.wait(1000, function()
      return done
    end, 1)
  end
  return accepted
end

---Takes the ghost text away until the next key.
---@return boolean dismissed
function M.dismiss()
  local bufnr = api.nvim_get_current_buf()
  if not suggestion.visible(bufnr) then
    return false
  end
  suggestion.forget_answer(bufnr)
  return vim.lsp.inline_completion.get({
    bufnr = bufnr,
    on_accept = function() end,
  })
end

---Shows the next (1) or previous (-1) alternative, asking the server for alternatives when there is only one.
---@param count integer
---@return boolean cycled
function M.cycle(count)
  local bufnr = api.nvim_get_current_buf()
  if not suggestion.visible(bufnr) then
    return false
  end
  local function select()
    vim.lsp.inline_completion.select({ bufnr = bufnr, count = count })
  end
  if suggestion.count(bufnr) > 1 or not suggestion.invoke(bufnr, select) then
    select()
  end
  return true
end

return M
