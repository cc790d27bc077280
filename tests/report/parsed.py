"""A page as a test reads it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What a test asks of a page: its words, its tags, the cells of its tables."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self._words: list[str] = []
        self._skip = 0
        self.feed(source)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skip += tag == "style"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._skip -= tag == "style"

    def handle_data(self, data: str) -> None:
        if self._skip:
            return
        self._words.append(data)
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data + " "

    def table_with(self, heading: str) -> dict[str, list[str]]:
        """Give the rows below the header of the first table that has the heading, by their first cell."""
        for rows in self.tables:
            if heading in [cell.strip() for cell in rows[0]]:
                return {row[0].strip(): [" ".join(cell.split()) for cell in row[1:]] for row in rows[1:]}
        raise AssertionError(f"no table has the heading {heading!r}")
