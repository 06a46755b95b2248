"""Reading a live catalogue: pages, what ends them, and everything that makes a reading no good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.bundle import Bundle, LiveCatalogue
from toolgate.core.expressions import parse_expression
from toolgate.core.listing import MOST_BYTES, MOST_PAGES, Answer, Listing
from toolgate.load.bundle import Sources, load

OPENAPI = """\
openapi: 3.1.0
info: {title: box, version: "1"}
paths:
  /things:
    get:
      operationId: listThings
      parameters:
        - {name: page, in: query, schema: {type: integer}}
        - {name: "page[after]", in: query, schema: {type: string}}
      responses: {"200": {description: anything}}
  /needed:
    get:
      operationId: neededPage
      parameters: [{name: page, in: query, required: true, schema: {type: integer}}]
      responses: {"200": {description: anything}}
  /strict:
    get:
      operationId: strictThings
      responses:
        "200":
          description: things with a tier
          content:
            application/json:
              schema:
                type: object
                required: [things]
                properties:
                  things:
                    type: array
                    items: {type: object, required: [id, tier], properties: {id: {type: string}, tier: {enum: [a, b]}}}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("box")
    (folder / "box").mkdir()
    (folder / "box" / "openapi.yaml").write_text(OPENAPI)
    (folder / "box" / "tool.yaml").write_text(
        'tool: box\nopenapi: openapi.yaml\nenvironments: {prod: {upstream: "http://127.0.0.1:9", allow: ["*"]}}\n'
    )
    return load(Sources(folder, None, "prod", ("prod",)))


def listing(box: Bundle, operation: str = "listThings", **said: Any) -> Listing:
    at = {key: parse_expression(said.pop(key)) for key in ("items", "next") if key in said}
    live = LiveCatalogue(
        "box", "Thing", f"box.{operation}", at.pop("items", parse_expression("$response.body")), "id", **at, **said
    )
    return Listing(live, box.catalog.operations[live.operation])


def answer(body: Any, *headers: tuple[str, str], status: int = 200) -> Answer:
    typed = () if any(name == "content-type" for name, _ in headers) else (("content-type", "application/json"),)
    return Answer(status, (*typed, *headers), body if isinstance(body, bytes) else orjson.dumps(body))


def read(listing: Listing, *pages: Answer) -> list[Mapping[str, Any]]:
    """Give it pages while it asks; return what it asked for. A page too few or too many fails."""
    asked = []
    for page in pages:
        assert listing.arguments is not None
        asked.append(dict(listing.arguments))
        assert listing.add(page) is None
    assert listing.arguments is None
    return asked


def wrong(listing: Listing, *pages: Answer) -> str:
    """Give it pages until one is no good; return what it says."""
    for page in pages[:-1]:
        assert listing.add(page) is None
    said = listing.add(pages[-1])
    assert said is not None
    return said


def test_items_become_resources_with_their_attributes(box):
    """The id is no attribute; everything else is kept as it is."""
    things = listing(box, items="$response.body#/data/things")

    read(things, answer({"data": {"things": [{"id": "a", "tier": "x", "n": {"m": [1]}}, {"id": "b"}]}}))

    assert {"a": {"tier": "x", "n": {"m": [1]}}, "b": {}} == things.found


@pytest.mark.parametrize(
    ("items", "body"),
    [
        ("$response.body", ["a", "b"]),
        ("$response.body#/edges/*/node", {"edges": [{"node": {"id": "a"}}, {"node": {"id": "b"}}]}),
        ("$response.body#/by/*", {"by": {"x": {"id": "a"}, "y": {"id": "b"}}}),
    ],
)
def test_items_may_be_plain_texts_or_stand_one_level_deeper(box, items, body):
    """A text is its own id; with a `*`, what is named are the items themselves."""
    things = listing(box, items=items)

    read(things, answer(body))

    assert ["a", "b"] == list(things.found)


def test_an_empty_list_is_a_list(box):
    """Nothing exists: that is an answer."""
    things = listing(box, items="$response.body#/edges/*/node")

    read(things, answer({"edges": []}))

    assert {} == things.found


# -- pages ------------------------------------------------------------------------------------------------------------


def test_a_cursor_is_passed_on_until_there_is_none(box):
    """The argument has the type its parameter declares, whatever type the cursor came as."""
    things = listing(
        box, items="$response.body#/t", next="$response.body#/next", page="page", arguments={"page[after]": "z"}
    )

    asked = read(
        things,
        answer({"t": ["a"], "next": 2}),
        answer({"t": [], "next": "3"}),
        answer({"t": ["b"], "next": None}),
    )

    assert [{}, {"page": 2}, {"page": 3}] == [{k: v for k, v in each.items() if k == "page"} for each in asked]
    assert {"z"} == {each["page[after]"] for each in asked}
    assert ["a", "b"] == list(things.found)


@pytest.mark.parametrize("last", [None, "", False])
def test_a_cursor_that_says_nothing_ends_the_list(box, last):
    """As vendors end theirs: null, an empty text, false, or no key at all."""
    read(
        listing(box, items="$response.body#/t", next="$response.body#/next", page="page[after]"),
        answer({"t": ["a"], "next": "x"}),
        answer({"t": ["b"], "next": last} if last is not False else {"t": ["b"]}),
    )


@pytest.mark.parametrize(
    "link",
    [
        '<https://api.example/things?page=2&x=1>; rel="next", <https://api.example/things?page=9>; rel="last"',
        '<https://api.example/things?page=9>; rel="last", <https://evil.example/else?x=1&page=2>; title="a, b"; REL=next',
        '</things?page=2>; rel="prefetch next"',
    ],
)
def test_a_link_header_names_the_next_page(box, link):
    """GitHub's way (RFC 8288). Of the URL only the parameter is taken: where to send is not the answer's to say."""
    things = listing(box, next="$response.header.Link", page="page")

    asked = read(things, answer(["a"], ("link", link)), answer(["b"], ("link", link.replace("next", "prev"))))

    assert [{}, {"page": 2}] == asked


def test_a_url_in_the_body_names_the_next_page(box):
    """Its query's parameter goes by the name on the wire."""
    things = listing(box, items="$response.body#/t", next="$response.body#/links/next", page="page[after]")

    asked = read(things, answer({"t": ["a"], "links": {"next": "/things?page%5Bafter%5D=q%2Fw"}}), answer({"t": ["b"]}))

    assert [{}, {"page[after]": "q/w"}] == asked


def test_a_header_of_the_vendors_own_names_the_next_page(box):
    """Any header may hold the cursor as it stands."""
    things = listing(box, next="$response.header.X-Next", page="page[after]")

    assert [{}, {"page[after]": "/a+b=="}] == read(things, answer(["a"], ("x-next", "/a+b==")), answer(["b"]))


def test_the_last_of_several_is_the_cursor(box):
    """`starting_after` the last item, as Stripe does it; an empty page ends the list."""
    things = listing(box, next="$response.body#/*/id", page="page[after]")

    asked = read(things, answer([{"id": "a"}, {"id": "b"}]), answer([]))

    assert [{}, {"page[after]": "b"}] == asked


@pytest.mark.parametrize("operation", ["listThings", "neededPage"])
def test_without_a_cursor_pages_are_counted_until_one_is_empty(box, operation):
    """`as` alone: page 1, page 2, …"""
    asked = read(listing(box, operation, page="page"), answer(["a"]), answer(["b"]), answer([]))

    assert [{"page": 1}, {"page": 2}, {"page": 3}] == asked


# -- what makes a reading no good ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "gave an answer that cannot be read: the JSON cannot be read: "),
        (
            b'{"t": [], "t": ["a"]}',
            "gave an answer that cannot be read: the JSON cannot be read: an object has the same key twice",
        ),
        (b'{"t": ["a"], "n": NaN}', "gave an answer that cannot be read"),
        (b"[" * 70 + b"]" * 70, "gave an answer that cannot be read: the JSON is nested more than 64 levels deep"),
        ({"other": []}, "gave an answer with nothing at `$response.body#/t`"),
        ({"t": {"a": 1}}, "gave an answer whose `$response.body#/t` is no list"),
        ({"t": [{"name": "a"}]}, "lists an item whose `id` is no text: `null`"),
        ({"t": [{"id": 7}]}, "lists an item whose `id` is no text: `7`"),
        ({"t": [{"id": ""}]}, "lists an item whose `id` is no text: ``"),
        ({"t": [["a"]]}, "lists an item whose `id` is no text: `[…]`"),
        ({"t": ["x" * 513]}, "lists an item whose `id` is longer than 512 characters: "),
        ({"t": ["a", "b", "a"]}, "lists `a` twice"),
        ({"t": ["a", "b", "c", "d"]}, "lists more than 3 items (`max_items`)"),
    ],
)
def test_a_page_that_is_no_list_of_resources_fails_the_reading(box, body, said):
    """Nothing of it is used, and the operator is told what came."""
    assert wrong(listing(box, items="$response.body#/t", max_items=3), answer(body)).startswith(said)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 401, 404, 500, 503])
def test_any_status_but_200_fails_the_reading(box, status):
    """A redirect is not followed, an error is no empty list, and 204 lists nothing."""
    assert f"answered with status {status}" == wrong(listing(box), answer([], status=status))


def test_an_answer_off_its_schema_fails_the_reading(box):
    """SECURITY: policies were checked against this schema, so resources that do not fit it are never shown to them."""
    said = wrong(
        listing(box, "strictThings", items="$response.body#/things"), answer({"things": [{"id": "a", "tier": "root"}]})
    )

    assert said.startswith("gave an answer off its schema: ")
    assert said.endswith("at `/things/0/tier`")


def test_an_answer_of_another_media_type_than_declared_fails_the_reading(box):
    """SECURITY: what no schema judges would pass unseen."""
    things = listing(box, "strictThings", items="$response.body#/things")

    said = wrong(things, answer({"things": []}, ("content-type", "text/plain")))

    assert "answered with the media type `text/plain`, which its document does not declare" == said


@pytest.mark.parametrize(
    ("cursor", "said"),
    [
        (True, "names a next page that is no cursor: `true`"),
        ({"a": 1}, "names a next page that is no cursor: `{…}`"),
        (1.5, "names a next page that is no cursor: `1.5`"),
        ("x" * 5000, "names a next page that is no cursor: "),
        ("https://api.example/things?seite=2", "names a next page whose URL has no `page`: "),
        ("http://[::1?page=2", "names a next page that is no URL: "),
    ],
)
def test_a_cursor_that_is_none_fails_the_reading(box, cursor, said):
    """A list whose end cannot be found is not whole."""
    things = listing(box, items="$response.body#/t", next="$response.body#/next", page="page")

    assert wrong(things, answer({"t": ["a"], "next": cursor})).startswith(said)


def test_a_cursor_that_comes_back_fails_the_reading(box):
    """SECURITY: an upstream cannot keep the gate turning pages for ever."""
    things = listing(box, items="$response.body#/t", next="$response.body#/next", page="page")
    pages = [answer({"t": [], "next": next_}) for next_ in (2, 3, 2)]

    assert "names the page `2` twice" == wrong(things, *pages)


def test_an_upstream_that_ignores_the_page_fails_the_reading(box):
    """The same items again and again are no pages."""
    assert "lists `a` twice" == wrong(listing(box, page="page"), answer(["a"]), answer(["a"]))


def test_pages_and_bytes_have_an_end(box):
    """However politely an upstream goes on."""
    many = listing(box, items="$response.body#/t", next="$response.body#/next", page="page")
    pages = [answer({"t": [], "next": number}) for number in range(2, MOST_PAGES + 2)]
    large = listing(box, items="$response.body#/t")

    assert f"has more than {MOST_PAGES:,} pages" == wrong(many, *pages)
    assert "gave answers larger than 32 MiB together" == wrong(large, answer(b'{"t":[]}' + b" " * MOST_BYTES))


_TEXTS = st.text(max_size=8)
_CURSORS = st.none() | st.booleans() | st.integers(-5, 5) | _TEXTS | st.lists(st.integers(0, 9), max_size=1)
_ITEMS = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 9) | _TEXTS}, optional={"a": st.integers(0, 9)}) | _TEXTS, max_size=4
)


@given(pages=st.lists(st.tuples(_ITEMS, _CURSORS) | st.binary(max_size=40), min_size=1, max_size=30))
def test_whatever_pages_come_the_reading_ends_and_is_whole_or_refused(box, pages):
    """Never a loop, never an exception, never a duplicate; nothing is asked for twice."""
    things = listing(box, items="$response.body#/t", next="$response.body#/next", page="page[after]", max_items=20)
    asked, ids = [], []
    for page in pages:
        if things.arguments is None:
            break
        asked.append(orjson.dumps(dict(things.arguments)))
        body = page if isinstance(page, bytes) else orjson.dumps({"t": page[0], "next": page[1]})
        if things.add(answer(body)) is not None:
            return
        ids += [item if isinstance(item, str) else item["id"] for item in page[0]]

    assert len(asked) == len(set(asked))
    assert ids == list(things.found)
    assert len(ids) <= 20
