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

---What the key did before it was mapped here, as the result of an <expr> mapping.
---@param lhs string
---@param previous table<string, any> as maparg() gives it
---@return string
local function pass(lhs, previous)
  local result ---@type string
  if previous.callback then
    if previous.expr ~= 1 then
      vim.schedule(previous.callback)
      return ''
    end
    result = previous.callback() or ''
  elseif not previous.rhs then
    return raw(lhs)
  elseif previous.expr == 1 then
    result = vim.api.nvim_eval(previous.rhs)
  else
    result = raw(previous.rhs)
  end
  if previous.expr == 1 and previous.replace_keycodes == 1 then
    result = raw(result)
  end
  if previous.noremap == 1 then
    return result
  end
  vim.api.nvim_feedkeys(result, 'im', false)
  return ''
end

---Maps the configured keys in a buffer, once.
---@param bufnr integer
---@param keys table<midspan.Action, string|false>
function M.map(bufnr, keys)
  for action, lhs in pairs(keys) do
    local previous = lhs and vim.api.nvim_buf_call(bufnr, function()
      return vim.fn.maparg(lhs, 'i', false, true)
    end)
    if lhs and previous and not vim.startswith(previous.desc or '', description) then
      vim.keymap.set('i', lhs, function()
        if require('midspan').is_visible() and not menu_wants_key(action) then
          -- A <Cmd> runs before keys typed ahead and, unlike this function, may change the buffer.
          return raw(("<Cmd>lua require('midspan').%s()<CR>"):format(action))
        end
        return pass(lhs, previous)
      end, {
        buffer = bufnr,
        expr = true,
        replace_keycodes = false,
        desc = description .. action:gsub('_', ' '),
      })
    end
  end
end

return M
