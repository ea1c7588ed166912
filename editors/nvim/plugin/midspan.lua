if vim.g.loaded_midspan then
  return
end
vim.g.loaded_midspan = true

vim.api.nvim_create_user_command('Midspan', function(args)
  require('midspan.command').run(args)
end, {
  nargs = '+',
  range = true,
  desc = 'Midspan: toggle | status | rewrite [instruction] | cancel | log | restart',
  complete = function(lead, line)
    return require('midspan.command').complete(lead, line)
  end,
})
