-- Insert-mode keys that act on ghost text and are the user's own keys while there is none.
local M = {}

local description = 'midspan: '

---@param action midspan.Action
---@return boolean
local function menu_wants_key(action)
  return action ~= 'dismiss' and vim.fn.pumvisible() == 1 and vim.fn.complete_info({ 'selected' }).selected >= 0
end

---@param keys string
---@return string
local function raw(keys)
  return vim.api.nvim_replace_termcodes(keys, true, true, true)
end

---Does what the key did before it was mapped here.
---@param lhs string
---@param previous table<string, any> as maparg() gives it
local function pass(lhs, previous)
  local keys ---@type string?
  if previous.callback then
    keys = previous.callback()
  elseif previous.rhs then
    keys = previous.expr == 1 and vim.api.nvim_eval(previous.rhs) or raw(previous.rhs)
  else
    keys = raw(lhs)
  end
  if previous.callback and previous.expr ~= 1 or not keys then
    return
  end
  if previous.expr == 1 and previous.replace_keycodes == 1 then
    keys = raw(keys)
  end
  -- In front of what is typed ahead; 'm' only where the user's own mapping was a recursive one.
  vim.api.nvim_feedkeys(keys, previous.noremap == 0 and 'im' or 'in', false)
end

---Maps the configured keys in a buffer, once.
---
---Not with <expr>: Neovim evaluates those while it still collects keys typed ahead, before the text they change has
---changed, so one could not tell whether there will be ghost text to act on.
---@param bufnr integer
---@param keys table<midspan.Action, string|false>
function M.map(bufnr, keys)
  for action, lhs in pairs(keys) do
    local previous = lhs and vim.api.nvim_buf_call(bufnr, function()
      return vim.fn.maparg(lhs, 'i', false, true)
    end)
    if lhs and previous and not vim.startswith(previous.desc or '', description) then
      vim.keymap.set('i', lhs, function()
        if menu_wants_key(action) or not require('midspan')[action]() then
          pass(lhs, previous)
        end
      end, { buffer = bufnr, desc = description .. action:gsub('_', ' ') })
    end
  end
end

return M
