"""Follows every link of the documentation that `cargo doc --no-deps` has written, and those of README.md.

    python3 .ci/links.py target/doc

A relative link must lead to a file, and its fragment to an id in it. Links from README.md to this crate on docs.rs must
lead to a page of this documentation, and in the documentation itself they must be relative: `src/lib.rs` overrides them.
Links into this repository must lead to a file of it. Other addresses are listed, not asked for.
"""

import html.parser
import pathlib
import re
import sys
import urllib.parse

from processes import check

CRATE = "hr_prometheus"
ON_DOCS_RS = "https://docs.rs/hr-prometheus/latest/"
REPOSITORY = re.compile(r"https://(?:github\.com|raw\.githubusercontent\.com)/hundredrooms/hr-prometheus/(?:(?:blob|tree)/)?main/")
ROOT = pathlib.Path(__file__).parent.parent
# Signatures name the associated type that the documentation of the trait hides.
HIDDEN = {"trait.Monitors.html#associatedtype.Set"}
# Definitions such as `[guide]: https://…`, and inline links.
IN_MARKDOWN = re.compile(r"^\[[^\]]+\]: (\S+)$|\]\(([^)\s]+)\)", re.MULTILINE)


class Page(html.parser.HTMLParser):
    """What a page links to, and the ids that it has."""

    def __init__(self, path):
        super().__init__()
        self.links = []
        self.ids = set()
        self.is_ours = True
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if name := attributes.get("id"):
            self.ids.add(urllib.parse.unquote(name))
            # What other crates implement for all types comes last, with links that are relative to their documentation.
            self.is_ours = self.is_ours and name != "blanket-implementations-list"
        if self.is_ours:
            self.links += filter(None, [attributes.get({"a": "href", "img": "src"}.get(tag))])


class Documentation:
    def __init__(self, folder):
        self.folder = folder.resolve()
        self.pages = {}
        self.external = set()
        self.broken = []

    def page(self, path):
        if path not in self.pages:
            self.pages[path] = Page(path)
        return self.pages[path]

    def follow(self, source, link, base):
        """Notes what is wrong with a link that `source` has, if anything; `base` is what it is relative to."""
        address, _, fragment = link.partition("#")
        if link in HIDDEN:
            return
        # With --no-deps, rustdoc does not know where the documentation of `actix_web::HttpServer` is; docs.rs does.
        if "::" in address:
            self.external.add(link)
        elif not urllib.parse.urlsplit(address).scheme:
            target = (base / urllib.parse.unquote(address)).resolve() if address else source
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                self.broken.append(f"{source}: {link} leads to no file")
            # A script makes the numbers of lines in sources.
            elif fragment and target.relative_to(self.folder).parts[0] != "src":
                if urllib.parse.unquote(fragment) not in self.page(target).ids:
                    self.broken.append(f"{source}: {link} leads to no heading or item")
        elif in_repository := REPOSITORY.match(link):
            if not (ROOT / urllib.parse.unquote(address[in_repository.end():])).exists():
                self.broken.append(f"{source}: {link} leads to no file of the repository")
        else:
            self.external.add(address)
            if source.suffix == ".html" and link.startswith(ON_DOCS_RS):
                self.broken.append(f"{source}: {link} should be overridden in src/lib.rs, so that it is relative")


def main():
    documentation = Documentation(pathlib.Path(sys.argv[1]))
    pages = sorted((documentation.folder / CRATE).rglob("*.html"))
    check(pages, f"no page in {documentation.folder / CRATE}; run `cargo doc --no-deps --all-features` first")
    followed = 0
    for path in pages:
        for link in documentation.page(path).links:
            documentation.follow(path, link, path.parent)
            followed += 1

    readme = ROOT / "README.md"
    for links in IN_MARKDOWN.findall(readme.read_text()):
        link = links[0] or links[1]
        if link.startswith(ON_DOCS_RS):
            documentation.follow(readme, link.removeprefix(ON_DOCS_RS), documentation.folder)
        elif link.startswith("http"):
            documentation.follow(readme, link, readme.parent)
        elif not (ROOT / link.partition("#")[0]).exists():
            documentation.broken.append(f"README.md: {link} leads to no file")
        followed += 1

    for address in sorted(documentation.external):
        print(f"not followed: {address}")
    check(not documentation.broken, "\n".join(documentation.broken))
    print(f"{followed} links on {len(pages)} pages and in README.md lead somewhere")


main()
