"""Names that files, labels and functions may have, and into which Markdown, Streamlit or Plotly read something."""

from __future__ import annotations

#: Of each kind of reading, at least one; as long as a label may be, without space around them.
NASTY = (
    "http://evil.example/a",
    "https://evil.example/?q=1&w=2#top",
    "see www.evil.example today",
    "WWW.Evil.Example",
    "(http://evil.example)",
    "mail someone@evil.example now",
    "mailto:someone@evil.example",
    "xmpp:someone@evil.example/x",
    "<https://evil.example>",
    "[click](http://evil.example)",
    "[click][1] [^1] ![x](http://evil.example/x.png)",
    "<a href='http://evil.example'>b</a>",
    "<b>bold</b> &amp; &lt;i&gt; &#65;",
    ":smile: :+1: a:b:c",
    ":material/home: :streamlit: :material_home:",
    "\U0001f600 face.jpg",
    ":red[blood] :blue-background[x] :color[x]{foreground='red'} :small[y]",
    ":gray-badge[z] ::x:: :help[h]",
    "$x^2$ and $$y$$ cost 5$",
    "a -> b <- c <-> d -- e --- f >= g <= h ~= i",
    "->",
    "*a* **b** _c_ __d__ ~e~ ~~f~~ `g` ``h``",
    "# heading",
    "- list",
    "+ list",
    "1. list",
    "12) list",
    "> quote",
    "| a | b |",
    "---",
    "- [ ] task",
    "=====",
    "back\\slash \\* \\",
    "```code```",
    "{{x}} {y} %{x} %s",
    "10:30:00 ratio 3:4",
    "C:\\Users\\me",
)

#: File names and sentences may hold these too; a label's and a function's name cannot.
WITH_CONTROLS = (
    "    four spaces before",
    "two\nlines",
    "two\n\nparagraphs",
    "a\n- list\n# heading\n====",
    "tab\there\r",
)
