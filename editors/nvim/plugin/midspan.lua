if vim.g.loaded_midspan then
  return
end
vim.g.loaded_midspan = true

vim.api.nvim_create_user_command('Midspan', function(args)
  require('midspan.command').run(args.args)
end, {
  nargs = 1,
  desc = 'Midspan: toggle | status | log | restart',
  complete = function(lead)
    return require('midspan.command').complete(lead)
  end,
})
