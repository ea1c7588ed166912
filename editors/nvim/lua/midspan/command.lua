-- The :Midspan command.
local server = require('midspan.server')
local M = {}

local actions = {
  rewrite = function(args, instruction)
    local lines = { args.line1, args.line2 }
    require('midspan.rewrite').rewrite({ lines = args.range > 0 and lines or nil, instruction = instruction })
  end,

  cancel = function()
    if not require('midspan.rewrite').cancel() then
      vim.notify('midspan: nothing is being rewritten here')
    end
  end,

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

---@param args vim.api.keyset.create_user_command.command_args
function M.run(args)
  local name, rest = args.args:match('^(%S+)%s*(.-)%s*$')
  local action = actions[name]
  if action and rest ~= '' and name ~= 'rewrite' then
    vim.notify(('midspan: %s takes no argument'):format(name), vim.log.levels.ERROR)
  elseif action then
    action(args, rest)
  else
    local known = table.concat(M.complete('', 'Midspan '), ', ')
    vim.notify(('midspan: %s is no command; known are %s'):format(name, known), vim.log.levels.ERROR)
  end
end

---@param lead string
---@param line string the command line so far
---@return string[]
function M.complete(lead, line)
  if line:match('Midspan%s+%S+%s') then
    return {}
  end
  return vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, { 'cancel', 'log', 'restart', 'rewrite', 'status', 'toggle' })
end

return M
