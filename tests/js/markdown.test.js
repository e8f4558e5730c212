/** What Markdown becomes: trees of elements, without a page. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { decoded } from "../../frontend/markdown/entities.ts";
import { highlight, names } from "../../frontend/markdown/highlight.ts";
import { LANGUAGES } from "../../frontend/markdown/languages.ts";
import { define, parse } from "../../frontend/markdown/tree.ts";

const options = { base: "https://page.example/chat/", isPicture: ({ host }) => host === "pictures.example", copy: "Copy" };

/** A tree, in short. */
function short(tree) {
  if (typeof tree === "string") return tree;
  const attributes = Object.entries(tree.attributes ?? {}).map(([name, value]) => ` ${name}=${value}`);
  return `<${tree.tag}${attributes.join("")}>${(tree.children ?? []).map(short).join("")}</>`;
}

function read(source) {
  return parse(source, options, {}).map(({ tree }) => short(tree)).join("");
}

const link = (href, words) => `<a href=${href} target=_blank rel=noopener noreferrer nofollow>${words}</>`;

const table = (head, rows) => `<div part=table tabindex=0><table><thead><tr>${head}</></><tbody>${rows.map((row) => `<tr>${row}</>`).join("")}</></></>`;

for (const [source, wanted] of [
  ["one *two* **three** ~~four~~ `five`", "<p>one <em>two</> <strong>three</> <del>four</> <code>five</></>"],
  ["# one\n\n###### six", "<h3>one</><h6>six</>"],
  ["one  \ntwo\nthree", "<p>one<br></>two\nthree</>"],
  ["> one\n> > two", "<blockquote><p>one</><blockquote><p>two</></></>"],
  ["- one\n- two\n  - three", "<ul><li>one</><li>two<ul><li>three</></></></>"],
  ["3. one\n4. two", "<ol start=3><li>one</><li>two</></>"],
  ["- one\n\n- two", "<ul><li><p>one</></><li><p>two</></></>"],
  ["- [ ] open\n- [x] done", "<ul><li part=task-item><span part=task>☐ </>open</><li part=task-item><span part=task>☑ </>done</></>"],
  ["- [x] loose\n\n- other", "<ul><li part=task-item><p><span part=task>☑ </>loose</></><li><p>other</></></>"],
  ["---", "<hr></>"],
  ["| a | b |\n|:-:|--:|\n| 1 | 2 |", "<div part=table tabindex=0><table><thead><tr><th part=align-center>a</><th part=align-right>b</></></><tbody><tr><td part=align-center>1</><td part=align-right>2</></></></></>"],
  ["| a |\n|---|\n| `x \\| y` |", table("<th>a</>", ["<td><code>x | y</></>"])],
  ["| a | b |\n|---|---|\n| 1 |\n| 1 | 2 | 3 |", table("<th>a</><th>b</>", ["<td>1</><td></>", "<td>1</><td>2</>"])],
  ["| a | b |\n|---|---|\n1\n> two", `${table("<th>a</><th>b</>", ["<td>1</><td></>"])}<blockquote><p>two</></>`],
  ["| a | b |\n|---|\n| 1 |", "<p>| a | b |\n|---|\n| 1 |</>"],
  ["~one~ ~~two~~ ~~~three~~~ ~~four\n\nfive~~", "<p><del>one</> <del>two</> ~~~three~~~ ~~four</><p>five~~</>"],
  ["(see www.a.example/b_(c)), www.a.example/d.", `<p>(see ${link("http://www.a.example/b_(c)", "www.a.example/b_(c)")}), ${link("http://www.a.example/d", "www.a.example/d")}.</>`],
  ["www.a.example/?b=1&c=2&amp; www.a.example/d<e", `<p>${link("http://www.a.example/?b=1&c=2", "www.a.example/?b=1&c=2")}& ${link("http://www.a.example/d", "www.a.example/d")}<e</>`],
  ["a+b@c.example. a@b+c.example a@b.example- xmpp:a@b.example", `<p>${link("mailto:a+b@c.example", "a+b@c.example")}. a@b+c.example a@b.example- xmpp:a@b.example</>`],
  ["```Python title=x\nif a < b:\n```", "<div part=code-block data-language=python><div part=code-header><span part=code-language>Python</><button part=code-copy type=button>Copy</></><pre tabindex=0><code>if a < b:</></></>"],
  ["    code", "<div part=code-block><div part=code-header><span part=code-language></><button part=code-copy type=button>Copy</></><pre tabindex=0><code>code</></></>"],
  ["[x](https://a.example/?b=1&c=2)", `<p>${link("https://a.example/?b=1&c=2", "x")}</>`],
  ["<https://a.example> a@b.example https://c.example/d.", `<p>${link("https://a.example/", "https://a.example")} ${link("mailto:a@b.example", "a@b.example")} ${link("https://c.example/d", "https://c.example/d")}.</>`],
  ["[x](/orders/1/)", `<p>${link("https://page.example/orders/1/", "x")}</>`],
  ["[x][y]\n\n[y]: https://a.example", `<p>${link("https://a.example/", "x")}</>`],
  ["[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</>"],
  ["[x](data:text/html,1)", "<p>[x](data:text/html,1)</>"],
  ["![x](https://a.example/b.png)", `<p>${link("https://a.example/b.png", "x")}</>`],
  ["[![x](https://a.example/b.png)](https://c.example)", `<p>${link("https://c.example/", "x")}</>`],
  ["![x](https://pictures.example/b.png)", "<p><img src=https://pictures.example/b.png alt=x loading=lazy referrerpolicy=no-referrer></></>"],
  ["![x](javascript:alert(1))", "<p>![x](javascript:alert(1))</>"],
  ["<b onclick=x>one</b>", "<p><b onclick=x>one</b></>"],
  ["<div>\none\n</div>\n\ntwo", "<p part=written><div>\none\n</div></><p>two</>"],
  ["&lt;b&gt; &amp;amp; &copy; &#8212; &#x2014; &nosuch; &constructor;", "<p><b> &amp; © — — &nosuch; &constructor;</>"],
  ["\\*one\\* \\<b>", "<p>*one* <b></>"],
  ["`&lt;`", "<p><code>&lt;</></>"],
  ["", ""],
]) {
  test(`reads ${JSON.stringify(source)}`, () => assert.equal(read(source), wanted));
}

test("knows the characters that are referred to by name or number", () => {
  assert.equal(decoded("&nbsp;&yuml;&Alpha;&omega;&sigmaf;&Omega;&rarr;&quot;&Tab;&NewLine;&colon;"), "\u00a0ÿΑωςΩ→\"\t\n:");
  assert.equal(decoded("&#0;&#xd800;&#1114112;&#x110000;&#65;"), "\ufffd\ufffd\ufffd\ufffdA");
  assert.equal(decoded("&amp;lt;"), "&lt;");
});

test("a reference that was defined before is known, and its first definition counts", () => {
  const definitions = define("- a\n\n  [y]: https://a.example\n\n[y]: https://b.example\n\n", define("[z]: https://c.example\n", {}));
  assert.equal(short(parse("[x][y]", options, definitions)[0].tree), `<p>${link("https://a.example/", "x")}</>`);
  assert.equal(short(parse("[x][z]", options, define("one", definitions))[0].tree), `<p>${link("https://c.example/", "x")}</>`);
});

test("what is read while it grows defines nothing for later", () => {
  const definitions = {};
  for (const source of ["[x][y]\n\n[y]: https://a.exa", "[x][y]\n\n[y]: https://a.example/"]) {
    const [block] = parse(source, options, definitions);
    assert.equal(short(block.tree), `<p>${link(new URL(source.slice(13)).href, "x")}</>`);
  }
});

test("blocks are made of the whole text", () => {
  const source = "# a\n\nb\n- c\n\n  d\n\n```\ne\n```\n| f |\n|---|\n\n\n> g\nh\n\n[i]: j\n***\nk";
  assert.equal(parse(source, options, {}).map(({ raw }) => raw).join(""), source);
});

test("what is nested too deep, too long or too wide is shown as it is written", () => {
  assert.match(read(`${">".repeat(100)} a`), />>>>> a/);
  assert.match(read("*a* ".repeat(10_000)), /^<p>(\*a\* )+/);
  assert.match(read(`${"|a".repeat(200)}|\n${"|-".repeat(200)}|`), /^<p part=written>/);
  const many = parse("a\n\n".repeat(50_000), options, {});
  assert.ok(many.length < 45_000);
  assert.equal(many.map(({ raw }) => raw).join(""), "a\n\n".repeat(50_000));
});

for (const [what, source] of [
  ["emphasis within emphasis", "*a_".repeat(6_000)],
  ["what might be an address of mail", `${"a.".repeat(9_000)}@`],
  ["quotes whose lines lack their marks", "> - a\nb\n".repeat(10_000)],
  ["an item of many lines", `- a\n${"b\n".repeat(20_000)}\n- c\n`],
]) {
  test(`after much that has to be read again and again, the rest is shown as it is written: ${what}`, () => {
    const whole = `${`${source}\n\n`.repeat(4)}*end*`;
    const blocks = parse(whole, options, {});
    assert.equal(blocks.map(({ raw }) => raw).join(""), whole);
    assert.equal(short(blocks.at(-1).tree), "<p>*end*</>");
  });
}

test("a quote may lack some of its marks, and a list may be long", () => {
  const list = "1. one\n   two\n\n   ```\n   three\n   ```\nfour\n- five\n".repeat(100);
  assert.equal(read(`${list}\n*end*`).match(/<li>/g).length, 200);
  assert.equal(read("> a\nb\n> - c\nd\n> > e\nf\n\n*g*"), "<blockquote><p>a\nb</><ul><li>c\nd</></><blockquote><p>e\nf</></></><p><em>g</></>");
});

test("code has its colours, and is the same text", () => {
  const text = (trees) => trees.map((tree) => (typeof tree === "string" ? tree : text(tree.children ?? []))).join("");
  const code = 'def f(a: int) -> str:\n    """Say <b>."""\n    return f"{a + 1}"  # done\n';
  const trees = highlight(code, "python");
  assert.equal(text(trees), code);
  assert.deepEqual(trees[0], { tag: "span", attributes: { part: "token", "data-token": "keyword" }, children: ["def"] });
  assert.equal(text(highlight("<script>let a = 1;</script>", "html")), "<script>let a = 1;</script>");
  assert.equal(highlight("x", "constructor"), null);
});

test("the page knows which languages have colours before it loads them", () => {
  const known = names().filter((name) => /^\S+$/.test(name));
  assert.deepEqual([...LANGUAGES].sort(), [...new Set(known)].sort());
});
