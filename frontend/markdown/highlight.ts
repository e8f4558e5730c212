/**
 * The colours of code: highlight.js with common languages. A page loads it with the first block of code in one of them.
 *
 * Of its scopes we make elements ourselves; the HTML that it could write is never asked for.
 */
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import csharp from "highlight.js/lib/languages/csharp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import graphql from "highlight.js/lib/languages/graphql";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import kotlin from "highlight.js/lib/languages/kotlin";
import less from "highlight.js/lib/languages/less";
import lua from "highlight.js/lib/languages/lua";
import makefile from "highlight.js/lib/languages/makefile";
import markdown from "highlight.js/lib/languages/markdown";
import objectivec from "highlight.js/lib/languages/objectivec";
import perl from "highlight.js/lib/languages/perl";
import php from "highlight.js/lib/languages/php";
import powershell from "highlight.js/lib/languages/powershell";
import python from "highlight.js/lib/languages/python";
import pythonRepl from "highlight.js/lib/languages/python-repl";
import r from "highlight.js/lib/languages/r";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import scss from "highlight.js/lib/languages/scss";
import shell from "highlight.js/lib/languages/shell";
import sql from "highlight.js/lib/languages/sql";
import swift from "highlight.js/lib/languages/swift";
import typescript from "highlight.js/lib/languages/typescript";
import vbnet from "highlight.js/lib/languages/vbnet";
import wasm from "highlight.js/lib/languages/wasm";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import type { Tree } from "./tree.ts";

const GRAMMARS = {
  bash, c, cpp, csharp, css, diff, dockerfile, go, graphql, ini, java, javascript, json, kotlin, less, lua, makefile, markdown, objectivec, perl, php, powershell, python,
  "python-repl": pythonRepl, r, ruby, rust, scss, shell, sql, swift, typescript, vbnet, wasm, xml, yaml,
};
for (const [name, grammar] of Object.entries(GRAMMARS)) hljs.registerLanguage(name, grammar);

/** Takes the scopes of a code, one inside of the other. */
class TreeEmitter {
  trees: Tree[] = [];
  #open: Tree[][] = [];

  addText(text: string) {
    if (text) this.trees.push(text);
  }

  startScope(scope: string) {
    const children: Tree[] = [];
    // "title.function": its first word says its colour.
    this.trees.push({ tag: "span", attributes: { part: "token", "data-token": scope.split(".")[0]! }, children });
    this.#open.push(this.trees);
    this.trees = children;
  }

  endScope() {
    this.trees = this.#open.pop() ?? this.trees;
  }

  openNode(scope: string) {
    this.startScope(scope);
  }

  closeNode() {
    this.endScope();
  }

  __addSublanguage(emitter: TreeEmitter) {
    emitter.finalize();
    this.trees.push(...emitter.trees);
  }

  finalize() {
    while (this.#open.length) this.endScope();
  }

  toHTML() {
    return "";
  }
}

hljs.configure({ __emitter: TreeEmitter });

/** @returns a code as texts and elements that say what they are; null in a language that is not known */
export function highlight(code: string, language: string): Tree[] | null {
  if (!hljs.getLanguage(language)) return null;
  const emitter = hljs.highlight(code, { language, ignoreIllegals: true })._emitter as unknown as TreeEmitter;
  emitter.finalize();
  return emitter.trees;
}

/** Every name that {@link highlight} takes. */
export function names(): string[] {
  return hljs.listLanguages().flatMap((name) => [name, ...(hljs.getLanguage(name)?.aliases ?? [])]);
}
