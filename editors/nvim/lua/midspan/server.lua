-- The Midspan servers of this Neovim: what they are told, and what they said about themselves.
local M = {}

---@class (exact) midspan.Report
---@field kind string State of the model: 'off', 'loading', 'ready', 'error', …
---@field message string
---@field outcome? string What became of the last request: 'shown', or why nothing was.
---@field seconds? number What it took.

local reports = {} ---@type table<integer, midspan.Report?>

---@return vim.lsp.Client[]
function M.clients()
  return vim.lsp.get_clients({ name = 'midspan' })
end

---@param client vim.lsp.Client
---@return midspan.Report
function M.report(client)
  local report = reports[client.id] or { kind = 'starting', message = '' }
  reports[client.id] = report
  return report
end

---@param update fun(report: midspan.Report, params: table)
---@return lsp.Handler
local function listener(update)
  return function(_, params, context)
    local client = vim.lsp.get_client_by_id(context.client_id)
    if client and type(params) == 'table' then
      update(M.report(client), params)
    end
  end
end

---What is merged over lsp/midspan.lua.
---@param config midspan.Config
---@return vim.lsp.Config
function M.lsp_config(config)
  local settings = vim.tbl_extend('force', { enable = config.enabled, status = true, trace = true }, config.settings)
  return {
    cmd = config.cmd,
    filetypes = config.filetypes,
    root_markers = config.root_markers,
    on_exit = require('midspan.recovery').on_exit,
    -- Neovim does apply edits of one version of a text, and refuse those of another; it only does not say so.
    capabilities = { workspace = { workspaceEdit = { documentChanges = true } } },
    init_options = settings,
    settings = { midspan = settings },
    handlers = {
      ['midspan/status'] = listener(function(report, params)
        report.kind, report.message = tostring(params.kind), tostring(params.message or '')
      end),
      ['midspan/trace'] = listener(function(report, params)
        report.outcome, report.seconds = tostring(params.outcome), tonumber(params.seconds)
      end),
    },
  }
end

---Asks for suggestions, or stops asking and lets the server free its model.
---@param client vim.lsp.Client
---@param enabled boolean
function M.enable(client, enabled)
  vim.lsp.inline_completion.enable(enabled, { client_id = client.id })
  local settings = vim.tbl_get(client.settings, 'midspan') or {}
  if settings.enable ~= enabled then
    settings.enable = enabled
    client.settings.midspan = settings
    client:notify('workspace/didChangeConfiguration', { settings = client.settings })
  end
end

---Tells a server that serves all projects about the project of one more buffer.
---@param client vim.lsp.Client
---@param bufnr integer
function M.add_workspace_folder(client, bufnr)
  local root = vim.fs.root(bufnr, client.config.root_markers or {})
  local wanted = vim.tbl_get(client, 'server_capabilities', 'workspace', 'workspaceFolders', 'changeNotifications')
  if not root or not wanted then
    return
  end
  local folder = { uri = vim.uri_from_fname(root), name = root }
  client.workspace_folders = client.workspace_folders or {}
  for _, known in ipairs(client.workspace_folders) do
    if known.uri == folder.uri then
      return
    end
  end
  table.insert(client.workspace_folders, folder)
  client:notify('workspace/didChangeWorkspaceFolders', { event = { added = { folder }, removed = {} } })
end

---@param client vim.lsp.Client
---@return string line for people
function M.describe(client)
  local info, report = client.server_info or {}, M.report(client)
  local parts = { ('%s %s, client %d'):format(info.name or 'server', info.version or '(no version)', client.id) }
  parts[#parts + 1] = report.message ~= '' and ('%s: %s'):format(report.kind, report.message) or report.kind
  if report.outcome then
    parts[#parts + 1] = ('last request: %s, %.0f ms'):format(report.outcome, 1000 * (report.seconds or 0))
  end
  return table.concat(parts, '; ')
end

return M
