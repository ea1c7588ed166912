-- How Neovim starts the Midspan server; `vim.lsp.config('midspan', {...})` overrides any field.

---@type vim.lsp.Config
return {
  cmd = { 'midspan', '--stdio' },
  filetypes = {
    'c',
    'cpp',
    'go',
    'java',
    'javascript',
    'javascriptreact',
    'json',
    'lua',
    'python',
    'ruby',
    'rust',
    'sh',
    'typescript',
    'typescriptreact',
  },
  root_markers = { 'midspan.toml', '.git', 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' },
  -- One process, hence one model in memory, for all projects open in this Neovim.
  reuse_client = function(client, config)
    return client.name == config.name and not client:is_stopped()
  end,
  get_language_id = function(_, filetype)
    return filetype == 'sh' and 'shellscript' or filetype
  end,
}
