-- What a user may pass to setup(), made complete and checked. Knows nothing of servers or buffers.
local M = {}

---@alias midspan.Action 'accept'|'accept_word'|'accept_line'|'next'|'prev'|'dismiss'

---@class (exact) midspan.Options
---@field enabled? boolean Show suggestions from the start (default true); `:Midspan toggle` changes it.
---@field cmd? string[] How to start the server (default { 'midspan', '--stdio' }).
---@field filetypes? string[] Where to attach (default: the list in lsp/midspan.lua).
---@field root_markers? (string|string[])[] What marks a project's root.
---@field settings? table Sent to the server as its settings.
---@field keys? false|table<midspan.Action, string|false> Insert-mode keys; false maps none.

---@class (exact) midspan.Config
---@field enabled boolean
---@field keys table<midspan.Action, string|false>
---@field cmd? string[]
---@field filetypes? string[]
---@field root_markers? (string|string[])[]
---@field settings table

---@type table<midspan.Action, string|false>
local keys = {
  accept = '<Tab>',
  accept_word = '<M-Right>',
  accept_line = '<M-C-Right>',
  next = '<M-]>',
  prev = '<M-[>',
  dismiss = '<C-]>',
}

local kinds = {
  enabled = 'boolean',
  cmd = 'table',
  filetypes = 'table',
  root_markers = 'table',
  settings = 'table',
}

---@param options midspan.Options
---@param complain fun(message: string)
---@return table<midspan.Action, string|false>
local function resolve_keys(options, complain)
  if options.keys == nil then
    return vim.deepcopy(keys)
  elseif options.keys == false then
    return {}
  elseif type(options.keys) ~= 'table' then
    complain('keys must be a table or false')
    return vim.deepcopy(keys)
  end
  local resolved = vim.deepcopy(keys)
  for action, lhs in pairs(options.keys) do
    if keys[action] == nil then
      complain(('keys.%s is no action; known are %s'):format(action, table.concat(M.actions(), ', ')))
    elseif type(lhs) ~= 'string' and lhs ~= false then
      complain(('keys.%s must be a string or false'):format(action))
    else
      resolved[action] = lhs
    end
  end
  return resolved
end

---@return midspan.Action[]
function M.actions()
  return { 'accept', 'accept_word', 'accept_line', 'next', 'prev', 'dismiss' }
end

---Makes the options complete. A wrong or unknown one is reported and its default kept.
---@param options? midspan.Options
---@return midspan.Config config
---@return string[] problems one sentence each, in no particular order
function M.resolve(options)
  local problems = {} ---@type string[]
  local function complain(message)
    problems[#problems + 1] = message
  end
  if options ~= nil and type(options) ~= 'table' then
    complain('setup() takes a table')
    options = nil
  end
  options = options and vim.deepcopy(options) or {}

  for name, value in pairs(options) do
    if kinds[name] and type(value) ~= kinds[name] then
      complain(('%s must be a %s, not a %s'):format(name, kinds[name], type(value)))
      options[name] = nil
    elseif not kinds[name] and name ~= 'keys' then
      complain(('%s is no option'):format(name))
    end
  end
  if options.cmd and type(options.cmd[1]) ~= 'string' then
    complain('cmd must hold at least the name of a program')
    options.cmd = nil
  end

  return {
    enabled = options.enabled ~= false,
    keys = resolve_keys(options, complain),
    cmd = options.cmd,
    filetypes = options.filetypes,
    root_markers = options.root_markers,
    settings = options.settings or {},
  },
    problems
end

return M
