"""Long files of dense code, generated: classes or their like, of eighteen methods each. For benchmarks of grammars."""

from __future__ import annotations

from itertools import cycle

PYTHON = '''
    def method_{n}(self, count: int, name: str = "{word}") -> dict[str, list[int]]:
        """Collect what {word} needs."""
        total = self.compute(count, name, key={n})
        if total > 3 and count in (1, 2, {n}):
            return {{"total": [total], name: [value * 2 for value in range({n})]}}
        for index, item in enumerate(self.items):
            self.seen.append((index, f"{{item}}-{{name}}"))  # {word}
        return {{}}
'''
JAVASCRIPT = """
  method{n}(count, name = "{word}") {{
    const total = this.compute(count, name, {{ key: {n} }});
    if (total > 3 && [1, 2, {n}].includes(count)) {{
      return {{ total: [total], [name]: range({n}).map((value) => value * 2) }};
    }}
    for (const [index, item] of this.items.entries()) {{
      this.seen.push([index, `${{item}}-${{name}}`]); // {word}
    }}
    return {{}};
  }}
"""
TYPESCRIPT = JAVASCRIPT.replace('(count, name = "{word}")', "(count: number, name: string): Record<string, number[]>")
JAVA = """
    public Map<String, List<Integer>> method{n}(int count, String name) {{
        int total = this.compute(count, name, {n});
        if (total > 3 && count == {n}) {{
            return Map.of("{word}", List.of(total, {n}));
        }}
        for (String item : this.items) {{
            this.seen.add(item + "-" + name); // {word}
        }}
        return null;
    }}
"""
CSHARP = JAVA.replace("this.", "_").replace(" : _items", " in _items").replace("for (", "foreach (")
CPP = """
  std::map<std::string, int> method{n}(int count, const std::string& name) {{
    int total = this->compute(count, name, {n});
    if (total > 3 && count == {n}) {{
      return {{{{"{word}", total}}, {{name, {n}}}}};
    }}
    for (const auto& item : items_) {{
      seen_.push_back(item + "-" + name);  // {word}
    }}
    return {{}};
  }}
"""
GO = """
func (g *Group) Method{n}(count int, name string) (map[string]int, error) {{
	total := g.compute(count, name, {n})
	if total > 3 && count == {n} {{
		return map[string]int{{"{word}": total, name: {n}}}, nil
	}}
	for index, item := range g.items {{
		g.seen = append(g.seen, pair{{index, item + "-" + name}}) // {word}
	}}
	return nil, nil
}}
"""
RUST = """
    pub fn method{n}(&mut self, count: usize, name: &str) -> Vec<u64> {{
        let total = self.compute(count, name, {n});
        if total > 3 && count == {n} {{
            return vec![total, {n}];
        }}
        for (index, item) in self.items.iter().enumerate() {{
            self.seen.push((index, format!("{{}}-{{}} {word}", item, name))); // {word}
        }}
        Vec::new()
    }}
"""
C = """
static int method{n}(struct group *g, int count, const char *name) {{
    int total = compute(g, count, name, {n});
    if (total > 3 && count == {n}) {{
        return lookup(g, "{word}", (int[]){{total, {n}}});
    }}
    for (int i = 0; i < g->size; i++) {{
        g->seen[i] = join(g->items[i], name); /* {word} */
    }}
    return 0;
}}
"""

SHAPES = {
    "python": ("\n\nclass Group{n}(Base):", PYTHON, ""),
    "javascript": ("class Group{n} extends Base {{", JAVASCRIPT, "}\n\n"),
    "typescript": ("export class Group{n} extends Base {{", TYPESCRIPT, "}\n\n"),
    "java": ("class Group{n} extends Base {{", JAVA, "}\n\n"),
    "csharp": ("class Group{n} : Base\n{{", CSHARP, "}\n\n"),
    "cpp": ("class Group{n} : public Base {{\n public:", CPP, "};\n\n"),
    "go": ("// Group{n}", GO, ""),
    "rust": ("impl Group{n} {{", RUST, "}\n\n"),
    "c": ("/* group {n} */", C, ""),
}
"""languageId → what begins a class, a method, what ends a class."""


def source(language_id: str, n_lines: int, words: tuple[str, ...] = ("alpha", "beta")) -> str:
    """A file of at least `n_lines` lines that parses, with `words` in its strings and comments."""
    opening, method, closing = SHAPES[language_id]
    word = cycle(words)
    pieces: list[str] = []
    length = n = 0
    while length < n_lines:
        pieces.append(opening.format(n=n))
        for _ in range(18):
            n += 1
            pieces.append(method.format(n=n, word=next(word)))
        pieces.append(closing)
        length = sum(piece.count("\n") for piece in pieces)
    return "".join(pieces)
