-- The :Midspan command.
local server = require('midspan.server')
local M = {}

local actions = {
  toggle = function()
    local midspan = require('midspan')
    midspan.toggle()
    vim.notify('midspan: ' .. (midspan.is_enabled() and 'on' or 'off'))
  end,

  status = function()
    vim.notify(M.status())
  end,

  log = function()
    vim.cmd.tabedit(vim.fn.fnameescape(vim.lsp.log.get_filename()))
  end,

  restart = function()
    require('midspan.recovery').forget()
    if #server.clients() > 0 then
      vim.cmd('lsp restart midspan')
    else
      vim.lsp.enable('midspan')
    end
  end,
}

---One line on each server, and whether it is asked at all.
---@return string
function M.status()
  local lines = { 'midspan: ' .. (require('midspan').is_enabled() and 'on' or 'off') }
  local here = vim.api.nvim_get_current_buf()
  for _, client in ipairs(server.clients()) do
    lines[#lines + 1] = server.describe(client) .. (client.attached_buffers[here] and '' or '; not attached here')
  end
  if #lines == 1 then
    lines[2] = 'no server is running; see :checkhealth midspan'
  end
  return table.concat(lines, '\n')
end

---@param name string
function M.run(name)
  local action = actions[name]
  if action then
    action()
  else
    local known = table.concat(M.complete(''), ', ')
    vim.notify(('midspan: %s is no command; known are %s'):format(name, known), vim.log.levels.ERROR)
  end
end

---@param lead string
---@return string[]
function M.complete(lead)
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, { 'log', 'restart', 'status', 'toggle' })
end

return M
