-- Starts a server that died again: at once, then later each time, and not at all when it dies again and again. Knows
-- nothing of buffers; Neovim attaches them anew and tells the new server what they hold.
local M = {}

local limit = 4 -- starts after deaths within the window
local base = 500 -- milliseconds; the n-th death within the window is answered after base × 2ⁿ⁻¹
local window = 180000 -- milliseconds

local deaths = {} ---@type integer[] when, in milliseconds

---@param now integer milliseconds
---@return integer? delay milliseconds until the next start; nil to leave it
function M.died(now)
  deaths = vim.tbl_filter(function(death)
    return now - death < window
  end, deaths)
  deaths[#deaths + 1] = now
  return #deaths <= limit and base * 2 ^ (#deaths - 1) or nil
end

---The user asked for a fresh start.
function M.forget()
  deaths = {}
end

local function start()
  if vim.lsp.is_enabled('midspan') and #vim.lsp.get_clients({ name = 'midspan', _uninitialized = true }) == 0 then
    vim.lsp.enable('midspan')
  end
end

---For a client's `on_exit`: what ends because it was told to is left alone.
---@param code integer
---@param signal integer
function M.on_exit(code, signal)
  if code == 0 and (signal == 0 or signal == 15) then
    return
  end
  vim.schedule(function()
    if vim.v.exiting ~= vim.NIL then
      return
    end
    local delay = M.died(vim.uv.now())
    if delay then
      vim.defer_fn(start, delay)
      return
    end
    local how = signal ~= 0 and 'signal ' .. signal or 'code ' .. code
    local message = 'midspan: the server ended %d times in a row (%s); see :checkhealth midspan and %s'
    vim.notify(message:format(limit + 1, how, vim.lsp.log.get_filename()), vim.log.levels.ERROR)
  end)
end

return M
