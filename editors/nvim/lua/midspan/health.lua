-- :checkhealth midspan
local server = require('midspan.server')
local M = {}

---@param cmd string[]|function|nil
local function check_server(cmd)
  if type(cmd) ~= 'table' then
    vim.health.info('the server is started by a function')
    return
  end
  local path = vim.fn.exepath(cmd[1])
  if path == '' then
    vim.health.error(cmd[1] .. ' is not executable', {
      'install it: pip install midspan',
      "or say where it is: require('midspan').setup({ cmd = { '/path/to/midspan', '--stdio' } })",
    })
    return
  end
  vim.health.ok(('server: %s (%s)'):format(table.concat(cmd, ' '), path))
end

local function check_clients()
  local clients = server.clients()
  if #clients == 0 then
    vim.health.info('no server is running: it starts with the first buffer of a known file type')
  end
  for _, client in ipairs(clients) do
    local report = server.describe(client)
    if not client:supports_method('textDocument/inlineCompletion') then
      vim.health.error(report, { 'this server does not offer inline completion' })
    elseif server.report(client).kind == 'error' then
      vim.health.error(report)
    else
      vim.health.ok(report)
    end
    local buffers = vim.tbl_count(client.attached_buffers)
    vim.health.info(('attached to %d buffers, positions in %s'):format(buffers, client.offset_encoding))
  end
end

local function check_keys()
  local config = require('midspan').config()
  for action, lhs in vim.spairs(config and config.keys or {}) do
    vim.health.info(('%s: %s'):format(action:gsub('_', ' '), lhs or 'no key'))
  end
end

function M.check()
  vim.health.start('midspan')
  if vim.fn.has('nvim-0.12') == 0 then
    vim.health.error('Neovim 0.12 or later is needed')
    return
  end
  vim.health.ok('Neovim ' .. tostring(vim.version()))

  local midspan = require('midspan')
  local config, problems = midspan.config()
  if config then
    vim.health.ok('set up; suggestions are ' .. (midspan.is_enabled() and 'on' or 'off (:Midspan toggle)'))
  else
    vim.health.warn('setup() has not run', { "call require('midspan').setup()" })
  end
  for _, problem in ipairs(problems) do
    vim.health.warn('setup(): ' .. problem)
  end
  check_server(vim.lsp.config.midspan.cmd)
  check_clients()
  check_keys()
  vim.health.info('log: ' .. vim.lsp.log.get_filename())
end

return M
