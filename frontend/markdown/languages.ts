/** The languages that `highlight.js` of this package knows, by their names and other names. */
export const LANGUAGES = new Set(
  (
    "bash sh zsh c h cpp cc c++ h++ hpp hh hxx cxx csharp cs c# css diff patch dockerfile docker go golang graphql gql ini toml java jsp javascript js jsx mjs cjs " +
    "json jsonc json5 kotlin kt ktm kts ktx less lua pluto makefile mk mak make markdown md mkdown mkd objectivec mm objc obj-c obj-c++ objective-c++ perl pl pm php " +
    "powershell pwsh ps ps1 python py gyp ipython pycon python-repl r ruby rb gemspec podspec thor irb rust rs scss shell console shellsession sql swift " +
    "typescript ts tsx mts cts vbnet vb wasm xml html xhtml rss atom xjb xsd xsl plist wsf svg yaml yml"
  ).split(" "),
);
