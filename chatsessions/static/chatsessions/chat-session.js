// Built from frontend/src by `make page`. Edit that, not this.

// src/chat-session.css
var chat_session_default = '/*\n * The look of <chat-session>. Set any of these on the element, or around it:\n *\n *   --chat-background  --chat-surface  --chat-text  --chat-muted  --chat-border\n *   --chat-accent  --chat-accent-text  --chat-own  --chat-own-text\n *   --chat-danger  --chat-danger-surface  --chat-good  --chat-warn\n *   --chat-radius  --chat-font  --chat-height  --chat-width (of the column of messages)\n *\n * Light or dark follows the reader; `chat-session { color-scheme: light }` decides it.\n */\n\n:host {\n  color-scheme: light dark;\n\n  --_background: var(--chat-background, light-dark(#ffffff, #16191d));\n  --_surface: var(--chat-surface, light-dark(#f4f6f7, #1f2429));\n  --_text: var(--chat-text, light-dark(#1b2227, #e7ebee));\n  --_muted: var(--chat-muted, light-dark(#57636c, #a0acb5));\n  --_border: var(--chat-border, light-dark(#dde2e6, #343b42));\n  --_control: light-dark(#87939c, #6c7882);\n  --_accent: var(--chat-accent, light-dark(#0f6674, #7cc9d4));\n  --_accent-text: var(--chat-accent-text, light-dark(#ffffff, #0c2226));\n  --_own: var(--chat-own, light-dark(#dff0f2, #1d4048));\n  --_own-text: var(--chat-own-text, light-dark(#123238, #e4f4f6));\n  --_danger: var(--chat-danger, light-dark(#a3261b, #ffb4a8));\n  --_danger-surface: var(--chat-danger-surface, light-dark(#fdf0ee, #3a1f1c));\n  --_good: var(--chat-good, light-dark(#1d7f4e, #63d297));\n  --_warn: var(--chat-warn, light-dark(#b45f06, #f3b35c));\n  --_warn-text: light-dark(#8f4a00, #f3b35c);\n  --_radius: var(--chat-radius, 0.875rem);\n  --_gap: 1rem;\n\n  display: block;\n  block-size: var(--chat-height, 36rem);\n  max-block-size: 100dvh;\n  min-block-size: 18rem;\n  min-inline-size: 0;\n  border: 1px solid var(--_border);\n  border-radius: var(--_radius);\n  overflow: hidden;\n  background: var(--_background);\n  color: var(--_text);\n  font: 400 1rem/1.5 var(--chat-font, system-ui, -apple-system, "Segoe UI", Roboto, sans-serif);\n  text-align: start;\n}\n\n:host([hidden]),\n[hidden] {\n  display: none !important;\n}\n\n*,\n*::before,\n*::after {\n  box-sizing: border-box;\n}\n\n[part="chat"] {\n  display: flex;\n  flex-direction: column;\n  block-size: 100%;\n}\n\n/* --- header --------------------------------------------------------------- */\n\n[part="header"] {\n  display: flex;\n  align-items: center;\n  gap: 0.75rem;\n  min-block-size: 3.25rem;\n  padding: 0.5rem var(--_gap);\n  border-block-end: 1px solid var(--_border);\n}\n\n[part="heading"] {\n  margin: 0;\n  min-inline-size: 0;\n  overflow: hidden;\n  font-size: 1.0625rem;\n  font-weight: 600;\n  line-height: 1.3;\n  text-overflow: ellipsis;\n  white-space: nowrap;\n}\n\n[part="profile"] {\n  flex: none;\n  max-inline-size: 40%;\n  padding: 0.125rem 0.5rem;\n  border-radius: 1rem;\n  overflow: hidden;\n  background: var(--_surface);\n  color: var(--_muted);\n  font-size: 0.8125rem;\n  text-overflow: ellipsis;\n  white-space: nowrap;\n}\n\n[part="status"] {\n  display: inline-flex;\n  align-items: center;\n  gap: 0.4375rem;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n  white-space: nowrap;\n}\n\n[part="status"]::before {\n  content: "";\n  flex: none;\n  inline-size: 0.5rem;\n  block-size: 0.5rem;\n  border-radius: 50%;\n  background: var(--_muted);\n}\n\n[data-state="online"] [part="status"]::before {\n  background: var(--_good);\n}\n\n[data-state="offline"] [part="status"]::before,\n[data-state="connecting"] [part="status"]::before {\n  background: var(--_warn);\n}\n\n[data-state="refused"] [part="status"]::before {\n  background: var(--_danger);\n}\n\n[part="tools"] {\n  display: flex;\n  flex: none;\n  gap: 0.125rem;\n  margin-inline: auto -0.5rem;\n}\n\n[part~="tool"],\n[part="end"] {\n  display: inline-flex;\n  align-items: center;\n  justify-content: center;\n  gap: 0.375rem;\n  min-inline-size: 2.25rem;\n  min-block-size: 2.25rem;\n  padding-inline: 0.5rem;\n  border-color: transparent;\n  color: var(--_muted);\n  font-size: 0.875rem;\n}\n\n[part="icon"] {\n  flex: none;\n  inline-size: 1.125em;\n  block-size: 1.125em;\n  fill: none;\n  stroke: currentColor;\n  stroke-linecap: round;\n  stroke-linejoin: round;\n  stroke-width: 1.75;\n}\n\n/* It has said so in words all along. */\n[part="tools"]:not(:has([part~="tool"]:not([hidden]))) [part="end"] [part="icon"] {\n  display: none;\n}\n\nspan[part="icon"] {\n  inline-size: auto;\n  block-size: auto;\n}\n\n/* --- messages ------------------------------------------------------------- */\n\n[part="body"] {\n  position: relative;\n  display: flex;\n  flex: 1;\n  flex-direction: column;\n  min-block-size: 0;\n}\n\n[part="messages"] {\n  flex: 1;\n  min-block-size: 0;\n  overflow-y: auto;\n  overscroll-behavior: contain;\n  padding: 1.25rem var(--_gap) 0.5rem;\n}\n\n[part="messages"]:focus-visible {\n  outline-offset: -3px;\n}\n\n[part="list"],\n[part="earlier"],\n[part="waiting-list"],\n[part="activity"],\n[part="composer"],\n[part="banner"],\n[part="notice"] {\n  inline-size: 100%;\n  max-inline-size: var(--chat-width, 46rem);\n  margin-inline: auto;\n}\n\n/* These have the gap at their sides within them. */\n[part="activity"],\n[part="composer"] {\n  max-inline-size: calc(var(--chat-width, 46rem) + 2 * var(--_gap));\n}\n\n[part="list"],\n[part="earlier"],\n[part="earlier-list"],\n[part="waiting-list"] {\n  display: flex;\n  flex-direction: column;\n}\n\n[part="empty"] {\n  display: grid;\n  place-items: center;\n  block-size: 100%;\n  margin: 0;\n  padding: 1rem;\n  color: var(--_muted);\n  text-align: center;\n  text-wrap: balance;\n}\n\n[part="empty"]:has(+ [part="starters"]:not([hidden])) {\n  align-items: end;\n  block-size: auto;\n  min-block-size: 35%;\n}\n\n[part="starters"] {\n  display: flex;\n  flex-wrap: wrap;\n  justify-content: center;\n  gap: 0.5rem;\n  inline-size: 100%;\n  max-inline-size: var(--chat-width, 46rem);\n  margin-inline: auto;\n  padding-block-end: 1rem;\n}\n\n[part="starter"] {\n  display: inline-flex;\n  align-items: center;\n  gap: 0.4375rem;\n  max-inline-size: 100%;\n  overflow-wrap: anywhere;\n  text-align: start;\n}\n\n[part="note"],\n[part="earlier-note"] {\n  align-self: center;\n  margin: 0 0 1.25rem;\n  padding: 0.25rem 0.875rem;\n  border-radius: 1rem;\n  background: var(--_surface);\n  color: var(--_muted);\n  font-size: 0.875rem;\n  text-align: center;\n  text-wrap: balance;\n}\n\n[part="more"] {\n  align-self: center;\n  margin-block-end: 1.25rem;\n}\n\n[part~="message"] {\n  align-self: flex-start;\n  max-inline-size: min(88%, 38rem);\n  margin-block-end: 1rem;\n}\n\n[part="message-header"] {\n  display: flex;\n  flex-wrap: wrap;\n  gap: 0 0.5rem;\n  margin: 0 0.125rem 0.1875rem;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n}\n\n[part="author"] {\n  font-weight: 600;\n}\n\n[part="content"] {\n  inline-size: fit-content;\n  max-inline-size: 100%;\n  min-block-size: 2.5rem;\n  min-inline-size: 2.5rem;\n  padding: 0.5rem 0.875rem;\n  border-radius: 0.25rem var(--_radius) var(--_radius);\n  background: var(--_surface);\n  overflow-wrap: anywhere;\n  white-space: pre-wrap;\n}\n\n[part~="own"] {\n  align-self: flex-end;\n}\n\n[part~="own"] [part="message-header"] {\n  justify-content: flex-end;\n}\n\n[part~="own"] [part="content"] {\n  margin-inline-start: auto;\n  border-radius: var(--_radius) 0.25rem var(--_radius) var(--_radius);\n  background: var(--_own);\n  color: var(--_own-text);\n}\n\n[part~="waiting"] [part="content"] {\n  background: transparent;\n  outline: 1px dashed var(--_control);\n  outline-offset: -1px;\n  color: var(--_muted);\n}\n\n[part~="error"] [part="content"] {\n  border-inline-start: 3px solid var(--_danger);\n  border-radius: 0.25rem var(--_radius) var(--_radius) 0.25rem;\n  background: var(--_danger-surface);\n  color: var(--_danger);\n}\n\n[part~="streaming"] [part="content"]::after {\n  content: "";\n  display: inline-block;\n  inline-size: 0.5rem;\n  block-size: 1.05em;\n  margin-inline-start: 0.125rem;\n  border-radius: 1px;\n  background: var(--_accent);\n  vertical-align: text-bottom;\n  animation: caret 1s steps(2, jump-none) infinite;\n}\n\n[part="actions"] {\n  display: flex;\n  flex-wrap: wrap;\n  gap: 0.5rem;\n  margin-block-start: 0.5rem;\n}\n\n[part="action"] {\n  display: inline-flex;\n  align-items: center;\n  gap: 0.4375rem;\n  max-inline-size: 100%;\n  overflow-wrap: anywhere;\n  text-align: start;\n}\n\n/* Who was asked should see where. */\n[part~="question"] [part="content"] {\n  border-inline-start: 3px solid var(--_accent);\n}\n\n[part="deadline"],\n[part="outcome"],\n[part="file-hint"] {\n  margin: 0.375rem 0.125rem 0;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n  font-variant-numeric: tabular-nums;\n}\n\n[part="file-hint"]:empty {\n  display: none;\n}\n\n[part="deadline"][data-soon] {\n  color: var(--_warn-text);\n  font-weight: 600;\n}\n\n/* --- steps ---------------------------------------------------------------- */\n\n[part="step-row"] {\n  align-self: stretch;\n  min-inline-size: 0;\n  max-inline-size: min(100%, 38rem);\n  margin-block-end: 0.5rem;\n}\n\n[part="step-row"]:has(+ [part~="message"]) {\n  margin-block-end: 1rem;\n}\n\n[part="steps"] {\n  margin-inline-start: min(1rem, 4%);\n  padding-inline-start: min(0.75rem, 3%);\n  border-inline-start: 1px solid var(--_border);\n}\n\n[part="steps"]:empty {\n  display: none;\n}\n\n[part="steps"] > [part="step-row"] {\n  margin-block: 0.375rem 0;\n}\n\n[part="step"] {\n  border: 1px solid var(--_border);\n  border-radius: calc(var(--_radius) * 0.75);\n  font-size: 0.9375rem;\n}\n\n[part="step-summary"] {\n  display: flex;\n  align-items: baseline;\n  gap: 0.5rem;\n  min-block-size: 2.25rem;\n  padding: 0.375rem 0.75rem;\n  border-radius: inherit;\n  cursor: pointer;\n  list-style: none;\n}\n\n[part="step-summary"]::-webkit-details-marker {\n  display: none;\n}\n\n[part="step-summary"]::before {\n  content: "";\n  flex: none;\n  inline-size: 0.4375rem;\n  block-size: 0.4375rem;\n  border: solid var(--_muted);\n  border-width: 0 1.5px 1.5px 0;\n  transform: translateY(-0.0625rem) rotate(-45deg);\n}\n\n[part="step-summary"]:dir(rtl)::before {\n  transform: translateY(-0.0625rem) rotate(135deg);\n}\n\n[part="step"][open] > [part="step-summary"]::before {\n  transform: translateY(-0.125rem) rotate(45deg);\n}\n\n[part="step-summary"]:hover [part="step-name"] {\n  text-decoration: underline;\n}\n\n[part="step-name"] {\n  min-inline-size: 0;\n  overflow-wrap: anywhere;\n}\n\n[part="step-state"] {\n  flex: none;\n  margin-inline-start: auto;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n}\n\n[part="step"][data-state="running"] [part="step-state"] {\n  color: var(--_accent);\n}\n\n[part="step"][data-state="failed"] [part="step-state"],\n[part="step-error"] {\n  color: var(--_danger);\n}\n\n[part="step-body"] {\n  padding: 0 0.75rem 0.75rem;\n}\n\n[part="step-field"]:has([part="step-text"]:empty),\n[part="step-error"]:empty {\n  display: none;\n}\n\n[part="step-label"] {\n  margin-block: 0.25rem 0.125rem;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n}\n\n[part="step-text"] {\n  max-block-size: 16rem;\n  margin: 0;\n  padding: 0.5rem 0.625rem;\n  overflow: auto;\n  border-radius: calc(var(--_radius) * 0.5);\n  background: var(--_surface);\n  font-family: ui-monospace, monospace;\n  font-size: 0.8125rem;\n  overflow-wrap: anywhere;\n  white-space: pre-wrap;\n}\n\n[part="step-error"] {\n  margin: 0.5rem 0 0;\n  white-space: pre-wrap;\n}\n\n/* --- files ---------------------------------------------------------------- */\n\n[part="files"],\n[part="attachments"] {\n  display: flex;\n  flex-wrap: wrap;\n  gap: 0.5rem;\n  min-inline-size: 0;\n  margin: 0;\n  padding: 0;\n  list-style: none;\n}\n\n[part="content"]:not([hidden]) + [part="files"] {\n  margin-block-start: 0.5rem;\n}\n\n[part~="own"] [part="files"] {\n  justify-content: flex-end;\n}\n\n[part="files"] li,\n[part="attachments"] li {\n  min-inline-size: 0;\n  max-inline-size: 100%;\n}\n\n[part~="file"],\n[part="attachment"] {\n  display: inline-flex;\n  align-items: center;\n  gap: 0.5rem;\n  min-block-size: 2.5rem;\n  padding: 0.25rem 0.75rem;\n  border: 1px solid var(--_border);\n  border-radius: calc(var(--_radius) * 0.75);\n  background: var(--_background);\n  color: var(--_text);\n  font-size: 0.9375rem;\n  text-decoration: none;\n}\n\n[part~="file"]:hover [part="file-name"] {\n  text-decoration: underline;\n}\n\n[part~="file"][aria-busy] {\n  cursor: progress;\n}\n\n[part="file-name"] {\n  min-inline-size: 0;\n  overflow: hidden;\n  text-overflow: ellipsis;\n  white-space: nowrap;\n}\n\n[part="file-size"],\n[part="attachment-state"] {\n  flex: none;\n  color: var(--_muted);\n  font-size: 0.8125rem;\n}\n\n[part~="file"],\n[part="attachment"] {\n  max-inline-size: 100%;\n}\n\n[part~="picture"] {\n  display: inline-grid;\n  grid-template-columns: minmax(0, auto) 1fr;\n  gap: 0.375rem 0.5rem;\n  padding: 0.375rem;\n}\n\n[part~="picture"] > [part="icon"] {\n  display: none;\n}\n\n[part~="picture"] [part="file-name"] {\n  padding-inline-start: 0.25rem;\n}\n\n[part="files"] li:has([part="media"], [part="file-text"]) {\n  flex: 1 1 100%;\n}\n\n[part="media"] {\n  display: block;\n  max-inline-size: 100%;\n  max-block-size: 20rem;\n  margin-block-end: 0.375rem;\n  border-radius: calc(var(--_radius) * 0.5);\n}\n\naudio[part="media"] {\n  inline-size: 22rem;\n}\n\n[part="file-text"] {\n  max-inline-size: 100%;\n  max-block-size: 16rem;\n  margin: 0 0 0.375rem;\n  padding: 0.5rem 0.75rem;\n  overflow: auto;\n  border: 1px solid var(--_border);\n  border-radius: calc(var(--_radius) * 0.5);\n  background: var(--_surface);\n  font-family: ui-monospace, monospace;\n  font-size: 0.8125rem;\n  overflow-wrap: anywhere;\n  white-space: pre-wrap;\n}\n\n[part="image"] {\n  display: block;\n  grid-column: 1 / -1;\n  max-inline-size: min(100%, 18rem);\n  max-block-size: 14rem;\n  border-radius: calc(var(--_radius) * 0.5);\n  object-fit: contain;\n}\n\n[part="attachments"] {\n  align-items: flex-start;\n  margin-block-end: 0.5rem;\n}\n\n[part="answer"] [part="attachments"] {\n  margin-block: 0.5rem 0;\n}\n\n[part="attachment"] {\n  padding-inline-end: 0.25rem;\n}\n\n[part="attachment"][data-failed] {\n  flex-wrap: wrap;\n  padding-block-start: 0.5rem;\n  border-color: var(--_danger);\n  background: var(--_danger-surface);\n}\n\n[part="attachment"][data-failed] [part="file-name"] {\n  flex: 1 1 60%;\n}\n\n[part="attachment"][data-failed] [part="attachment-state"] {\n  flex: 0 1 auto;\n  color: var(--_danger);\n}\n\n[part="progress"] {\n  inline-size: 5rem;\n  block-size: 0.5rem;\n  accent-color: var(--_accent);\n}\n\n[part="attachment-again"] {\n  min-block-size: 2rem;\n  padding: 0.125rem 0.625rem;\n  font-size: 0.875rem;\n}\n\n[part="attachment-remove"],\n[part="dialog-close"],\n[part="tag-remove"] {\n  display: inline-grid;\n  flex: none;\n  place-items: center;\n  min-inline-size: 2rem;\n  min-block-size: 2rem;\n  padding: 0;\n  border-color: transparent;\n  color: inherit;\n}\n\n[data-dropping] [part="body"]::after {\n  content: "";\n  position: absolute;\n  inset: 0.5rem;\n  border: 2px dashed var(--_accent);\n  border-radius: var(--_radius);\n  background: color-mix(in srgb, var(--_accent) 10%, transparent);\n  pointer-events: none;\n}\n\n[part="jump"] {\n  position: absolute;\n  inset-block-end: 0.5rem;\n  inset-inline: 0;\n  margin-inline: auto;\n  inline-size: fit-content;\n  border-radius: 2rem;\n  background: var(--_background);\n  box-shadow: 0 2px 10px rgb(0 0 0 / 18%);\n}\n\n[part="jump"]::before {\n  content: "↓ " / "";\n}\n\n/* --- buttons -------------------------------------------------------------- */\n\nbutton {\n  min-block-size: 2.5rem;\n  padding: 0.375rem 1rem;\n  border: 1px solid var(--_control);\n  border-radius: calc(var(--_radius) * 0.75);\n  background: transparent;\n  color: var(--_text);\n  font: inherit;\n  font-size: 0.9375rem;\n  font-weight: 500;\n  line-height: 1.2;\n  cursor: pointer;\n  touch-action: manipulation;\n}\n\nbutton:hover {\n  background: var(--_surface);\n}\n\n[part="send"],\n[part="primary"],\n[part="send-files"],\n[part="banner-link"],\n[part="banner-button"]:not([data-second]),\n[part="end-cancel"] {\n  border-color: transparent;\n  background: var(--_accent);\n  color: var(--_accent-text);\n}\n\n[part="send"]:hover,\n[part="primary"]:hover,\n[part="send-files"]:hover,\n[part="banner-link"]:hover,\n[part="banner-button"]:not([data-second]):hover,\n[part="end-cancel"]:hover {\n  background: color-mix(in oklab, var(--_accent) 88%, var(--_text));\n}\n\nbutton:disabled,\nbutton[aria-disabled="true"] {\n  border-color: var(--_border);\n  background: var(--_surface);\n  color: var(--_muted);\n  cursor: default;\n}\n\n:focus-visible {\n  outline: 2px solid var(--_accent);\n  outline-offset: 2px;\n}\n\n/* --- below the messages --------------------------------------------------- */\n\n[part="activity"] {\n  display: flex;\n  align-items: center;\n  gap: 0.75rem;\n  min-block-size: 2.75rem;\n  padding: 0.25rem var(--_gap);\n  color: var(--_muted);\n  font-size: 0.8125rem;\n}\n\n[part="working"] {\n  display: inline-flex;\n  align-items: center;\n  gap: 0.625rem;\n  font-size: 0.875rem;\n}\n\n/* A turn of a few milliseconds should not make the page blink. */\n[part="working"],\n[part="stop"] {\n  animation: appear 0.15s 0.25s backwards;\n}\n\n[part="dots"] {\n  display: inline-flex;\n  gap: 0.25rem;\n}\n\n[part="dots"] i {\n  inline-size: 0.4375rem;\n  block-size: 0.4375rem;\n  border-radius: 50%;\n  background: var(--_accent);\n  animation: dot 1.2s ease-in-out infinite;\n}\n\n[part="dots"] i:nth-child(2) {\n  animation-delay: 0.15s;\n}\n\n[part="dots"] i:nth-child(3) {\n  animation-delay: 0.3s;\n}\n\n[part="stop"] {\n  flex: none;\n  min-block-size: 2rem;\n  margin-inline-start: auto;\n  padding-block: 0.25rem;\n  font-size: 0.875rem;\n}\n\n[part="stop"]::before {\n  content: "";\n  display: inline-block;\n  inline-size: 0.625rem;\n  block-size: 0.625rem;\n  margin-inline-end: 0.4375rem;\n  border-radius: 2px;\n  background: currentColor;\n}\n\n[part="composer"] {\n  padding: 0 var(--_gap) max(var(--_gap), env(safe-area-inset-bottom));\n}\n\n[part="composer-row"] {\n  display: flex;\n  align-items: flex-end;\n  gap: 0.625rem;\n}\n\n[part="composer"] [part="attachments"] {\n  max-block-size: 30dvh;\n  overflow-y: auto;\n}\n\n[part="attach"] {\n  display: inline-grid;\n  flex: none;\n  place-items: center;\n  min-inline-size: 2.75rem;\n  min-block-size: 2.75rem;\n  padding: 0;\n  font-size: 1.125rem;\n}\n\n[part="announcer"],\n[part="label"] {\n  position: absolute;\n  inline-size: 1px;\n  block-size: 1px;\n  overflow: hidden;\n  clip-path: inset(50%);\n  white-space: nowrap;\n}\n\n[part="input"] {\n  flex: 1;\n  min-inline-size: 0;\n  min-block-size: 2.75rem;\n  max-block-size: min(10rem, 30dvh);\n  padding: 0.5625rem 0.875rem;\n  border: 1px solid var(--_control);\n  border-radius: calc(var(--_radius) * 0.75);\n  background: var(--_background);\n  color: inherit;\n  font: inherit; /* 16 px at least, or phones zoom in */\n  resize: none;\n}\n\n[part="input"]::placeholder {\n  color: var(--_muted);\n  opacity: 1;\n}\n\n[part="input"]:focus-visible {\n  border-color: var(--_accent);\n  outline-offset: -1px;\n}\n\n[part="send"] {\n  min-block-size: 2.75rem;\n}\n\n[part="notice"],\n[part="banner"] {\n  display: flex;\n  align-items: center;\n  gap: 0.5rem 1rem;\n  inline-size: calc(100% - 2 * var(--_gap));\n  margin-block: 0.5rem 0;\n  padding: 0.625rem 0.875rem;\n  border-radius: calc(var(--_radius) * 0.75);\n  background: var(--_surface);\n  font-size: 0.9375rem;\n}\n\n[part="notice"] {\n  padding-block: 0.25rem;\n  padding-inline-end: 0.375rem;\n  background: var(--_danger-surface);\n  color: var(--_danger);\n}\n\n[part="notice"][data-passing] {\n  background: var(--_surface);\n  color: var(--_text);\n}\n\n[part="notice-text"] {\n  flex: 1;\n  padding-block: 0.375rem;\n}\n\n[part="dismiss"] {\n  min-inline-size: 2.25rem;\n  min-block-size: 2.25rem;\n  padding: 0;\n  border-color: transparent;\n  color: inherit;\n  font-size: 1.25rem;\n}\n\n[part="banner"] p {\n  flex: 1;\n  margin: 0;\n}\n\n[part="banner-time"] {\n  color: var(--_muted);\n  font-variant-numeric: tabular-nums;\n}\n\n[part="banner-ways"] {\n  display: flex;\n  flex: none;\n  flex-wrap: wrap;\n  gap: 0.5rem;\n}\n\n[part="banner-link"] {\n  display: inline-grid;\n  place-items: center;\n  min-block-size: 2.5rem;\n  padding: 0.375rem 1rem;\n  border-radius: calc(var(--_radius) * 0.75);\n  font-size: 0.9375rem;\n  font-weight: 500;\n  line-height: 1.2;\n  text-decoration: none;\n}\n\n/* Where nothing can be written, the way out stands in the composer\'s place. */\n:is([data-state="replaced"], [data-state="ended"], [data-state="refused"]) [part="banner"] {\n  margin-block: 0.75rem max(var(--_gap), env(safe-area-inset-bottom));\n  padding: 1rem;\n}\n\n/* Labels of tools need room: where there are several, and on phones, the pictures do. */\n@media (width < 48rem) {\n  [part="tools"]:has([part~="tool"]:not([hidden])) [part="tool-label"] {\n    position: absolute;\n    inline-size: 1px;\n    block-size: 1px;\n    overflow: hidden;\n    clip-path: inset(50%);\n    white-space: nowrap;\n  }\n}\n\n@media (width < 30rem) {\n  :host {\n    --_gap: 0.75rem;\n  }\n\n  [part="header"] {\n    gap: 0.5rem;\n  }\n\n  [part="tools"] {\n    gap: 0;\n  }\n\n  /* Its colour stays, and is said. */\n  [part="header"]:has([part~="tool"]:not([hidden])) [part="status"] {\n    flex: none;\n    inline-size: 0.5rem;\n    gap: 1rem;\n    overflow: hidden;\n  }\n\n\n  [part="banner"] {\n    flex-direction: column;\n    align-items: stretch;\n    padding-block-end: 0.875rem;\n  }\n\n  /* No such keys on a phone. The row stays: what stands below must not jump. */\n  [part="activity"]:not([data-question]) [part="hint"] {\n    display: none;\n  }\n}\n\n@keyframes caret {\n  to {\n    opacity: 0;\n  }\n}\n\n@keyframes appear {\n  from {\n    opacity: 0;\n  }\n}\n\n@keyframes dot {\n  30%,\n  90% {\n    opacity: 0.3;\n  }\n}\n\n@media (prefers-reduced-motion: reduce) {\n  *,\n  *::before,\n  *::after {\n    animation: none !important;\n    transition: none !important;\n  }\n}\n\n@media (forced-colors: active) {\n  [part="content"],\n  [part="notice"],\n  [part="banner"],\n  [part="profile"],\n  [part="tag"] {\n    border: 1px solid;\n  }\n}\n';

// src/panels.css
var panels_default = `/* What opens beside a conversation, or stands in its place: choices, dialogs, forms. Beside chat-session.css. */

/* --- in the conversation's place ------------------------------------------- */

[part="choice"] {
  display: grid;
  flex: 1;
  min-block-size: 0;
  overflow-y: auto;
  padding: 1.25rem var(--_gap);
}

[part="profiles"] {
  display: grid;
  gap: 1rem;
  inline-size: 100%;
  max-inline-size: 32rem;
  margin: auto;
}

[part="profile-list"] {
  display: grid;
  gap: 0.625rem;
  min-inline-size: 0;
  margin: 0;
  padding: 0;
  border: 0;
}

[part="profile-title"] {
  margin-block-end: 0.75rem;
  padding: 0;
  font-size: 1.0625rem;
  font-weight: 600;
}

[part="profile-choice"] {
  display: flex;
  gap: 0.75rem;
  padding: 0.75rem 0.875rem;
  border: 1px solid var(--_control);
  border-radius: calc(var(--_radius) * 0.75);
  cursor: pointer;
}

[part="profile-choice"]:has(:checked) {
  border-color: var(--_accent);
  background: var(--_own);
  color: var(--_own-text);
}

[part="profile-choice"] input {
  flex: none;
  inline-size: 1.125rem;
  block-size: 1.125rem;
  margin: 0.1875rem 0 0;
  accent-color: var(--_accent);
}

[part="profile-words"] {
  display: grid;
  min-inline-size: 0;
  overflow-wrap: anywhere;
}

[part="profile-name"] {
  display: flex;
  align-items: center;
  gap: 0.4375rem;
  font-weight: 600;
}

[part="profile-description"] {
  font-size: 0.9375rem;
  white-space: pre-line;
}

[part="keys"] {
  flex: none;
  inline-size: 100%;
  max-block-size: 70%;
  max-inline-size: calc(var(--chat-width, 46rem) + 2 * var(--_gap));
  margin-inline: auto;
  overflow-y: auto;
  padding: 0.75rem var(--_gap) max(var(--_gap), env(safe-area-inset-bottom));
}

[part="keys-text"] {
  margin: 0 0 0.75rem;
}

[part="keys-form"],
[part="fields"] {
  display: grid;
  gap: 1.125rem;
}

[part="keys-form"] {
  gap: 0.875rem;
}

/* --- dialogs ---------------------------------------------------------------- */

dialog {
  max-block-size: calc(100dvh - 2rem);
  max-inline-size: min(24rem, calc(100vw - 2rem));
  padding: 1.25rem;
  border: 1px solid var(--_border);
  border-radius: var(--_radius);
  background: var(--_background);
  color: var(--_text);
}

dialog::backdrop {
  background: rgb(0 0 0 / 45%);
}

[part="dialog"] p {
  margin: 0 0 1.25rem;
}

[part="dialog"] form {
  display: flow-root;
}

[part="dialog"] button {
  margin-inline-end: 0.5rem;
}

[part~="dialog"]:not([part="dialog"]) {
  inline-size: 28rem;
  max-inline-size: calc(100vw - 2rem);
  padding: 0;
}

[part~="dialog"]:not([part="dialog"])[open] {
  display: flex;
  flex-direction: column;
}

[part="dialog-header"] {
  display: flex;
  flex: none;
  align-items: center;
  justify-content: space-between;
  gap: 1rem;
  padding: 0.75rem 0.75rem 0.75rem 1.25rem;
  border-block-end: 1px solid var(--_border);
}

[part="dialog-title"] {
  margin: 0;
  font-size: 1.0625rem;
  font-weight: 600;
}

[part="dialog-body"] {
  display: flex;
  flex-direction: column;
  gap: 1.125rem;
  min-block-size: 0;
  overflow-y: auto;
  padding: 1.25rem;
}

[part="dialog-ways"] {
  display: flex;
  flex-wrap: wrap;
  gap: 0.5rem;
}

[part="form-error"],
[part="field-error"] {
  margin: 0;
  color: var(--_danger);
  font-size: 0.875rem;
}

/* Beside the conversation, where there is room. */
[part~="dialog"][part~="threads"] {
  block-size: 100dvh;
  max-block-size: 100dvh;
  margin: 0;
  border-block: 0;
  border-inline-start: 0;
  border-radius: 0;
}

[part="threads-list"] {
  display: grid;
  grid-template-columns: minmax(0, 1fr);
  gap: 0.25rem;
  margin: 0 -0.625rem;
  padding: 0;
  list-style: none;
}

[part="threads-status"] {
  margin: 0;
  color: var(--_muted);
  font-size: 0.875rem;
}

[part="thread"] {
  display: flex;
  align-items: baseline;
  justify-content: space-between;
  gap: 0.75rem;
  inline-size: 100%;
  border-color: transparent;
  text-align: start;
}

[part="thread-title"] {
  flex: 1;
  min-inline-size: 0;
  overflow: hidden;
  text-overflow: ellipsis;
  white-space: nowrap;
}

[part="thread"] [part="time"] {
  flex: none;
  color: var(--_muted);
  font-size: 0.8125rem;
  font-weight: 400;
}

/* --- fields ----------------------------------------------------------------- */

[part~="field"] {
  display: grid;
  gap: 0.375rem;
  min-inline-size: 0;
}

[part="field-line"] {
  display: flex;
  align-items: baseline;
  justify-content: space-between;
  gap: 1rem;
}

[part="field-label"] {
  font-size: 0.9375rem;
  font-weight: 600;
}

[part="field-hint"] {
  margin: 0;
  color: var(--_muted);
  font-size: 0.875rem;
}

[part="field-output"] {
  font-variant-numeric: tabular-nums;
}

[part="field-control"] {
  inline-size: 100%;
  min-inline-size: 0;
  min-block-size: 2.5rem;
  padding: 0.4375rem 0.75rem;
  border: 1px solid var(--_control);
  border-radius: calc(var(--_radius) * 0.75);
  background: var(--_background);
  color: inherit;
  font: inherit;
}

textarea[part="field-control"] {
  resize: vertical;
}

[part="field-control"]::placeholder {
  color: var(--_muted);
  opacity: 1;
}

[part="field-control"][aria-invalid="true"] {
  border-color: var(--_danger);
}

[part="field-choices"] {
  display: grid;
  gap: 0.125rem;
  max-block-size: 14rem;
  overflow-y: auto;
}

[part="field-choice"] {
  display: flex;
  align-items: center;
  gap: 0.625rem;
  min-inline-size: 0;
  min-block-size: 2rem;
  overflow-wrap: anywhere;
}

[part="field-box"] {
  flex: none;
  inline-size: 1.125rem;
  block-size: 1.125rem;
  margin: 0.125rem;
  accent-color: var(--_accent);
}

[part="field-days"] {
  display: flex;
  flex-wrap: wrap;
  gap: 0.375rem 1rem;
}

[part="field-days"] [part="field-choice"] {
  flex: 1 1 10rem;
}

[part="field-days"] span {
  flex: none;
}

[part~="field"]:disabled {
  margin: 0;
  padding: 0;
  border: 0;
}

[part~="field"]:disabled :is(input, select, textarea, [part="tags"], [part="field-choice"]) {
  cursor: not-allowed;
  opacity: 0.65;
}

[part="field-range"] {
  inline-size: 100%;
  min-block-size: 1.75rem;
  margin: 0;
  accent-color: var(--_accent);
}

[part~="field-switch"],
[part~="field-checkbox"] {
  grid-template-columns: 1fr auto;
  align-items: center;
}

[part="field-switch"] {
  position: relative;
  inline-size: 2.75rem;
  block-size: 1.5rem;
  margin: 0;
  border: 1px solid var(--_control);
  border-radius: 1rem;
  background: var(--_surface);
  appearance: none;
  cursor: pointer;
}

[part="field-switch"]::before {
  content: "";
  position: absolute;
  inset-block: 0.1875rem;
  inset-inline-start: 0.1875rem;
  inline-size: 1rem;
  border-radius: 50%;
  background: var(--_muted);
  transition: inset-inline-start 0.12s;
}

[part="field-switch"]:checked {
  border-color: var(--_accent);
  background: var(--_accent);
}

[part="field-switch"]:checked::before {
  inset-inline-start: 1.4375rem;
  background: var(--_accent-text);
}

:is([part~="field-switch"], [part~="field-checkbox"]) > :is([part="field-hint"], [part="field-error"]) {
  grid-column: 1 / -1;
}

[part="tabs-box"] {
  display: grid;
  gap: 1.125rem;
  min-inline-size: 0;
}

[part="tabs"] {
  display: flex;
  flex-wrap: wrap;
  gap: 0 0.25rem;
  border-block-end: 1px solid var(--_border);
}

[part="tab"] {
  margin: 0;
  border: 0;
  border-block-end: 2px solid transparent;
  border-radius: 0;
  background: transparent;
  color: var(--_muted);
  overflow-wrap: anywhere;
}

[part="tab"][aria-selected="true"] {
  border-block-end-color: var(--_accent);
  color: var(--_text);
  font-weight: 600;
}

[part="tags-box"],
[part="tags"] {
  display: flex;
  flex-wrap: wrap;
  gap: 0.375rem;
}

[part="tags"] {
  margin: 0;
  padding: 0;
  list-style: none;
}

[part="tag"] {
  display: inline-flex;
  align-items: center;
  max-inline-size: 100%;
  padding-inline-start: 0.75rem;
  border-radius: 1rem;
  background: var(--_own);
  color: var(--_own-text);
  overflow-wrap: anywhere;
}

@media (width < 30rem) {
  [part~="dialog"][part~="threads"] {
    inline-size: 100vw;
    max-inline-size: 100vw;
    border: 0;
  }
}
`;

// src/texts.js
var defaults = {
  you: "You",
  assistant: "Assistant",
  inputLabel: "Message",
  placeholder: "Write a message…",
  hint: "Enter sends, Shift+Enter starts a new line",
  answerHint: "Your next message answers the question above",
  choiceHint: "Choose one of the buttons above; a message waits until then",
  answerLabel: "Your answer",
  answerPlaceholder: "Write your answer…",
  send: "Send",
  stop: "Stop",
  working: "Working…",
  end: "End chat",
  endTitle: "End this conversation",
  endQuestion: "End this conversation? It cannot be continued afterwards.",
  endConfirm: "End it now",
  endCancel: "Keep talking",
  log: "Conversation",
  jump: "Jump to latest",
  dismiss: "Dismiss",
  empty: "Nothing here yet. Write the first message below.",
  starters: "Begin with one of these, or write the first message below.",
  sending: "Sending…",
  waiting: "Waiting for the connection",
  states: {
    connecting: "Connecting…",
    online: "Online",
    offline: "Offline",
    replaced: "Open elsewhere",
    ended: "Ended",
    refused: "Not available",
    closed: "Closed"
  },
  reconnecting: "Trying to reconnect…",
  unreachable: "Cannot connect.",
  offline: "The connection is lost. Your messages are kept and will be sent.",
  retryIn: (seconds) => `Next try in ${seconds} s.`,
  tryNow: "Try now",
  replaced: "This conversation is open in another tab or on another device.",
  takeOver: "Use it here",
  /** @type {Record<string, string>} */
  endedBy: {
    user: "You have ended this conversation.",
    admin: "This conversation was ended by an administrator.",
    app: "This conversation is finished.",
    expired: "This conversation ended because nobody came back to it for a while.",
    logout: "This conversation ended because you logged out."
  },
  ended: "This conversation has ended.",
  startNew: "Start a new conversation",
  /** @type {Record<string, string>} by close code */
  refusedWith: {
    4502: "You are not allowed to use this chat. You may have to log in first.",
    4504: "You have too many open conversations. End one of them, then try again."
  },
  refused: "This chat is not available.",
  /** @type {Record<string, string>} by the server's error code, with close code 4502 */
  refusedFor: {
    unauthorized: "You are not logged in any more. What you have written is kept.",
    forbidden: "You are not allowed to use this chat."
  },
  loginFirst: "Log in to use this chat.",
  logIn: "Log in",
  tryAgain: "Try again",
  /** @type {Record<string, string>} why the log begins anew */
  notes: {
    ended: "Your earlier conversation has ended. This is a new one.",
    expired: "Your earlier conversation ended because it was left for a while. This is a new one.",
    unknown: "Your earlier conversation could not be continued. This is a new one.",
    gap: "Earlier messages are no longer available."
  },
  /** @type {Record<string, string>} by error code, instead of the server's words */
  notices: {
    rate_limited: "That was a little fast. Your message will be sent in a moment.",
    busy: "There is a lot going on. Your message will be sent in a moment.",
    storage_unavailable: "Your message could not be stored yet. It will be sent again in a moment.",
    call_closed: "That question is no longer open."
  },
  /** By what was sent, for a refusal without words of the server's. */
  actionRefused: "That button is no longer offered.",
  answerRefused: "That answer was not taken. Please try again.",
  failed: "Something went wrong while answering.",
  // Steps on the way to an answer
  step: "Step",
  stepInput: "Input",
  stepOutput: "Output",
  stepStates: {
    running: "Running…",
    done: "Done",
    failed: "Failed"
  },
  // Questions
  choices: "Choices",
  /** @type {Record<string, string>} how a question ended without an answer */
  outcomes: {
    timeout: "There was no answer in time.",
    cancelled: "This question was withdrawn."
  },
  timeLeft: (seconds) => seconds > 90 ? `${Math.ceil(seconds / 60)} minutes left` : `${seconds} s left`,
  timeUp: "Time is up.",
  // Files
  attach: "Attach files",
  attachments: "Files to send",
  files: "Files",
  file: "File",
  dropHere: "Drop files here",
  remove: "Remove",
  removeFile: (name) => `Remove ${name}`,
  uploading: (name) => `Uploading ${name}`,
  chooseFile: "Choose a file",
  chooseFiles: "Choose files",
  sendFiles: "Send files",
  noFileYet: "Choose a file first.",
  noFiles: "This page cannot take files.",
  stillUploading: "Files are still being uploaded. Send when they are there.",
  removeFailed: "A file could not be uploaded. Try it again, or remove it.",
  fileLimits: (count, megabytes) => [count && count > 1 ? `At most ${count} files` : "", megabytes ? `up to ${megabytes} MB each` : ""].filter(Boolean).join(", "),
  tooManyFiles: (count) => count === 1 ? "Only one file can be sent." : `At most ${count} files can be sent.`,
  wrongType: (name) => `${name} is not a kind of file that is asked for.`,
  fileTooLarge: (name, megabytes) => `${name} is larger than ${megabytes.toLocaleString([], { maximumFractionDigits: 1 })} MB.`,
  uploadFailed: "The file could not be uploaded.",
  uploadNetwork: "The connection was lost.",
  uploadCancelled: "The upload was cancelled.",
  /** @type {Record<string, string>} by the server's error code; others are told in its own words, or, where it has none, by the HTTP status */
  uploadErrors: {
    413: "The file is too large."
  },
  download: (name) => `Download ${name}`,
  openFile: "Open in a new tab",
  downloadFailed: "The file could not be fetched.",
  // Dialogs
  close: "Close",
  save: "Save",
  saving: "Saving…",
  settings: "Settings",
  defaults: "Defaults",
  notANumber: "This is not a number.",
  notADate: "This is not a date.",
  firstDay: "From",
  lastDay: "To",
  bothDays: "Both dates are needed.",
  tagPlaceholder: "Add one, then Enter",
  removeTag: (tag) => `Remove ${tag}`,
  keys: "Keys",
  keysWanted: "Waiting for you",
  keysNeeded: "This chat needs the following from you before it can begin.",
  keysHint: "Kept in this tab only, until you close it.",
  keysSave: "Save and connect",
  profiles: "How would you like to begin?",
  profile: (name) => `Profile: ${name}`,
  profilesFailed: "The profiles could not be loaded.",
  start: "Start",
  // Earlier conversations
  threads: "Earlier conversations",
  newConversation: "New conversation",
  searchThreads: "Search",
  loading: "Loading…",
  noThreads: "There are no earlier conversations.",
  noThreadFound: "Nothing found.",
  threadsFound: (count, page, pages) => `${count} ${count === 1 ? "conversation" : "conversations"}${pages > 1 ? `, page ${page} of ${pages}` : ""}`,
  threadsFailed: "They could not be loaded. You may have to log in.",
  untitled: "Without a title",
  previousPage: "Newer",
  nextPage: "Older",
  earlier: "Earlier in this conversation",
  earlierStill: "Show earlier messages",
  earlierFailed: "The earlier messages could not be loaded."
};
var texts = shared(defaults);
function shared(own) {
  const realm = (
    /** @type {Record<symbol, any>} */
    globalThis
  );
  const key = /* @__PURE__ */ Symbol.for("chatsessions.texts");
  return complete(realm[key] ??= {}, own);
}
function complete(target, source) {
  for (const [name, value] of Object.entries(source)) {
    target[name] ??= value;
    if (typeof value === "object") complete(target[name], value);
  }
  return target;
}

// src/banner.js
var Banner = class {
  #parts;
  /** @type {number | undefined} */
  #countdown;
  /** @param {Pick<Parts, "banner" | "bannerText" | "bannerTime" | "bannerLink" | "bannerButton">} parts */
  constructor(parts) {
    this.#parts = parts;
  }
  /** @param {StateDetail} state @param {Past} past @param {string | null} loginUrl */
  show(state, past, loginUrl) {
    const { banner: banner2, bannerText, bannerTime, bannerLink, bannerButton } = this.#parts;
    window.clearInterval(this.#countdown);
    const [text, label] = words(state, past);
    banner2.hidden = !text;
    bannerText.textContent = text;
    bannerButton.textContent = label;
    bannerButton.hidden = !label;
    const login = state.state === "refused" && state.reason === "unauthorized" ? safeUrl(loginUrl) : null;
    bannerLink.hidden = !login;
    if (login) bannerLink.href = login;
    bannerButton.toggleAttribute("data-second", Boolean(login));
    bannerTime.textContent = "";
    if (text && state.state === "offline") this.#countDown(Date.now() + (state.retryIn ?? 0) * 1e3);
  }
  /** @param {number} until */
  #countDown(until) {
    const show = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1e3));
      this.#parts.bannerTime.textContent = texts.retryIn(seconds);
    };
    show();
    this.#countdown = window.setInterval(show, 1e3);
  }
};
var Notice = class {
  #parts;
  /** @type {number | undefined} */
  #timer;
  /** @param {Pick<Parts, "notice" | "noticeText">} parts */
  constructor(parts) {
    this.#parts = parts;
  }
  /** @param {string} text @param {number} [seconds] after which it goes away */
  show(text, seconds) {
    const { notice: notice2, noticeText } = this.#parts;
    noticeText.textContent = text;
    notice2.hidden = false;
    notice2.toggleAttribute("data-passing", seconds !== void 0);
    window.clearTimeout(this.#timer);
    if (seconds) this.#timer = window.setTimeout(() => this.dismiss(), Math.max(seconds, 4) * 1e3);
  }
  dismiss() {
    window.clearTimeout(this.#timer);
    this.#parts.notice.hidden = true;
    this.#parts.noticeText.textContent = "";
  }
};
function statusWords({ state, attempt, reason }, { reached }) {
  if (state === "refused" && reason === "missing_env") return texts.keysWanted;
  return state === "connecting" && attempt && reached ? texts.reconnecting : texts.states[state];
}
function words({ state, attempt, reason, code, detail }, { reached, session }) {
  if ((state === "offline" || state === "connecting") && reason === "not_migrated") return [detail ?? texts.unreachable, texts.tryNow];
  if ((state === "offline" || state === "connecting") && attempt > 1) return [reached ? texts.offline : texts.unreachable, texts.tryNow];
  if (state === "replaced") return [texts.replaced, texts.takeOver];
  if (state === "ended") return [texts.endedBy[reason ?? ""] ?? texts.ended, texts.startNew];
  if (state !== "refused" || reason === "missing_env") return ["", ""];
  if (code === 4502 && reason === "unauthorized" && !session) return [texts.loginFirst, texts.tryAgain];
  const known = code === 4502 && texts.refusedFor[reason ?? ""] || texts.refusedWith[code ?? 0];
  return [known ?? (detail || texts.refused), texts.tryAgain];
}
function safeUrl(url) {
  if (!url || !URL.canParse(url, location.href)) return null;
  return /^https?:$/.test(new URL(url, location.href).protocol) ? url : null;
}

// src/backoff.js
var Backoff = class {
  #attempt = 0;
  #base;
  #cap;
  #random;
  /** @param {{base?: number, cap?: number, random?: () => number}} [options] times in milliseconds */
  constructor({ base = 500, cap = 3e4, random = Math.random } = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }
  /** How many attempts have been made since the last success. */
  get attempt() {
    return this.#attempt;
  }
  /** The wait before the next attempt, in milliseconds. */
  next() {
    const ceiling = Math.min(this.#cap, this.#base * 2 ** this.#attempt);
    this.#attempt += 1;
    return this.#random() * ceiling;
  }
  reset() {
    this.#attempt = 0;
  }
};

// src/connection.js
var SUBPROTOCOL = "chatsessions.v1";
var OPEN = 1;
var Connection = class {
  #socket;
  /**
   * @param {string} url
   * @param {typeof WebSocket} Socket
   * @param {{opened: () => void, received: (frame: Frame) => void, closed: (code: number) => void}} handlers
   */
  constructor(url, Socket, { opened, received, closed }) {
    this.#socket = new Socket(url, [SUBPROTOCOL]);
    this.#socket.onopen = () => opened();
    this.#socket.onmessage = ({ data }) => {
      for (const frame of decode(data)) {
        if (this.#socket.onmessage) received(frame);
      }
    };
    this.#socket.onclose = ({ code }) => {
      this.#detach();
      closed(code);
    };
  }
  /** @param {Frame} frame @returns {boolean} whether the socket took it */
  send(frame) {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }
  /** Hang up without waiting for the other side: a dead line would keep us for minutes. */
  close() {
    this.#detach();
    this.#socket.close(1e3);
  }
  #detach() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }
};
function decode(text) {
  try {
    return [JSON.parse(String(text))].flat().filter((frame) => typeof frame?.type === "string");
  } catch {
    return [];
  }
}
var MAX_PONG_WAIT = 1e4;
var Monitor = class {
  #timers;
  #heartbeat;
  #ping;
  #dead;
  #heardAt;
  #sentAt;
  /** @type {number | null} when the unanswered ping was sent */
  #pingedAt = null;
  /** @type {any} */
  #timer = null;
  /**
   * @param {Timers} timers
   * @param {number} heartbeat milliseconds of silence before a ping
   * @param {{ping: () => void, dead: () => void}} handlers
   */
  constructor(timers, heartbeat, { ping, dead }) {
    this.#timers = timers;
    this.#heartbeat = heartbeat;
    this.#ping = ping;
    this.#dead = dead;
    this.#heardAt = this.#sentAt = timers.now();
    this.#check();
  }
  heard() {
    this.#heardAt = this.#timers.now();
    this.#pingedAt = null;
  }
  sent() {
    this.#sentAt = this.#timers.now();
  }
  /** Ask at once whether the line lives, as after a sleep. */
  probe() {
    if (this.#pingedAt === null) this.#askNow();
    this.#check();
  }
  stop() {
    this.#timers.clearTimeout(this.#timer);
  }
  #askNow() {
    this.#pingedAt = this.#timers.now();
    this.#ping();
  }
  #check() {
    this.stop();
    const now = this.#timers.now();
    if (this.#pingedAt !== null && now >= this.#deadline()) {
      this.#dead();
      return;
    }
    if (this.#pingedAt === null && now >= this.#deadline()) this.#askNow();
    this.#timer = this.#timers.setTimeout(() => this.#check(), this.#deadline() - now);
  }
  /** When to look again: at the end of the silence, or of the wait for an answer. */
  #deadline() {
    if (this.#pingedAt !== null) return this.#pingedAt + Math.min(this.#heartbeat, MAX_PONG_WAIT);
    return Math.min(this.#heardAt, this.#sentAt) + this.#heartbeat;
  }
};

// src/delivery.js
var Outbox = class {
  /** @type {Outgoing[]} in the order of `n`; without holes beyond `#accepted` */
  #items;
  /** The highest `n` that the server is known to have stored. */
  #accepted;
  /** The highest `n` written to the current line. */
  #cursor;
  /** @param {Outgoing[]} [items] @param {number} [next] the number of the next frame */
  constructor(items = [], next = 1) {
    this.#items = [...items];
    const last = items.at(-1)?.n ?? 0;
    this.#accepted = last < next - 1 ? next - 1 : (items[0]?.n ?? next) - 1;
    this.#cursor = this.#accepted;
    const ascending = items.every(({ n }, index) => index === 0 || n > items[index - 1].n);
    if (!ascending) this.#renumber(items, this.#accepted + 1);
  }
  /** Everything that is not confirmed yet, oldest first. @returns {readonly Outgoing[]} */
  get items() {
    return this.#items;
  }
  /** The number that the next frame will get. */
  get next() {
    return Math.max(this.#accepted, this.#items.at(-1)?.n ?? 0) + 1;
  }
  /** Whether something was written to the line and is not accepted. */
  get waiting() {
    const first = this.#items.find((item) => item.n > this.#accepted);
    return first !== void 0 && first.n <= this.#cursor;
  }
  /** The number of the first frame that is not accepted. */
  get first() {
    return this.#accepted + 1;
  }
  /** How many frames were written to the line and are not accepted. */
  get onTheWire() {
    return this.#cursor - this.#accepted;
  }
  /** Whether a frame is still to be written. */
  get more() {
    return (this.#items.at(-1)?.n ?? 0) > this.#cursor;
  }
  /** @param {Omit<Outgoing, "n">} frame @returns {Outgoing} */
  push(frame) {
    const item = { ...frame, n: this.next };
    this.#items.push(item);
    return item;
  }
  /** The frames to write now; they count as written. @param {number} window @param {number} [last] the highest number that may go */
  take(window2, last = Infinity) {
    const limit = Math.min(this.#accepted + window2, last);
    if (limit <= this.#cursor) return [];
    const from = this.#items.findIndex((item) => item.n > this.#cursor);
    const frames = [];
    for (let index = from; index >= 0 && index < this.#items.length && this.#items[index].n <= limit; index++) frames.push(this.#items[index]);
    this.#cursor = frames.at(-1)?.n ?? this.#cursor;
    return frames;
  }
  /** Write again from `n`, or from the first that is not accepted. @param {number} [n] */
  rewind(n = 0) {
    this.#cursor = Math.max(this.#accepted, n - 1);
  }
  /** `n` is stored. @param {number} n @returns {Outgoing | undefined} the frame, if it was waiting */
  accept(n) {
    const item = this.#remove(n);
    this.#accepted = Math.max(this.#accepted, n);
    this.#cursor = Math.max(this.#cursor, this.#accepted);
    return item;
  }
  /**
   * The log holds `entry` as our frame `n`.
   *
   * It may be somebody else's: a duplicated tab, or another device, goes on counting from the same
   * number. What is still ours to send is then numbered anew.
   * @param {number} n @param {{name: string, data: any}} entry
   */
  confirm(n, entry) {
    const item = this.accept(n);
    if (item && !isOurs(item, entry)) this.push(item);
  }
  /**
   * The server has stored everything up to `received`. What lies beyond is numbered on from there;
   * what does not is kept until the replay has shown it.
   * @param {number} received
   */
  resume(received) {
    this.#accepted = received;
    this.#cursor = received;
    this.#renumber(this.#items.filter((item) => item.n > received), received + 1);
  }
  /** A new session: what is left is numbered from 1. */
  restart() {
    this.settle();
    this.#accepted = 0;
    this.#cursor = 0;
    this.#renumber(this.#items, 1);
  }
  /**
   * What was left from before this page is ours after all, and goes before what was sent since.
   * @param {readonly Outgoing[]} items @param {number} next the number of the next frame, when it was left
   */
  adopt(items, next) {
    const last = items.at(-1)?.n ?? 0;
    this.#renumber(this.#items, Math.max(next, last + 1));
    this.#items = [...items, ...this.#items];
  }
  /** Somebody else wrote these. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items = this.#items) {
    const foreign = new Set(items);
    this.#items = this.#items.filter((item) => !foreign.has(item));
    this.#renumber(this.#items, this.#accepted + 1);
    this.#cursor = this.#accepted;
  }
  /** The replay is complete: what the server said it had stored need not be kept. */
  settle() {
    this.#items = this.#items.filter((item) => item.n > this.#accepted);
  }
  /** `n` will never be accepted; those behind it move up. @param {number} n */
  refuse(n) {
    if (n <= this.#accepted) return void 0;
    const item = this.#remove(n);
    if (!item) return void 0;
    this.#renumber(this.#items.filter((other) => other.n > n), n);
    this.#cursor = Math.min(this.#cursor, n - 1);
    return item;
  }
  /** Among the frames on the line, the largest: the one to blame for "too large". */
  largestWritten() {
    return this.#items.filter((item) => item.n > this.#accepted && item.n <= this.#cursor).reduce((largest, item) => largest && byteLength(largest) >= byteLength(item) ? largest : item, void 0);
  }
  /** The frames that no line of `limit` bytes a frame can carry. @param {number} limit */
  oversized(limit) {
    return this.#items.filter((item) => item.n > this.#accepted && byteLength(item) > limit);
  }
  /** @param {number} n */
  #remove(n) {
    const index = this.#items.findIndex((item) => item.n === n);
    return index < 0 ? void 0 : this.#items.splice(index, 1)[0];
  }
  /** @param {Outgoing[]} items @param {number} from */
  #renumber(items, from) {
    items.forEach((item, offset) => item.n = from + offset);
  }
};
function isOurs(item, { name, data }) {
  if (item.type === "answer") return name === "answer" && isSame(item, { call: data?.call, data: data?.data });
  return name === item.name && (name === "action" ? item.data?.id === data?.id : isSame(item, { data }));
}
function isSame({ call, data }, entry) {
  return call === entry.call && JSON.stringify(data ?? null) === JSON.stringify(entry.data ?? null);
}
var encoder = new TextEncoder();
function byteLength(frame) {
  return encoder.encode(JSON.stringify(frame)).length;
}
var Inbox = class {
  /** The highest `seq` up to which everything is here. */
  received = 0;
  /** @type {Map<number, Entry>} own entries whose `accepted` came before their predecessors */
  #parked = /* @__PURE__ */ new Map();
  /** Where an entry belongs: to be applied now, known already, or behind a hole. @param {number} seq */
  place(seq) {
    if (seq <= this.received) return "old";
    return seq === this.received + 1 ? "next" : "hole";
  }
  /** @param {number} seq */
  has(seq) {
    return seq <= this.received || this.#parked.has(seq);
  }
  /** Keep an entry until those before it are here. @param {Entry} entry */
  park(entry) {
    this.#parked.set(entry.seq, entry);
  }
  /** The parked entry whose turn has come. */
  unpark() {
    const entry = this.#parked.get(this.received + 1);
    this.#parked.delete(this.received + 1);
    return entry;
  }
  /** A new line: what was parked comes again in the replay. */
  resume() {
    this.#parked.clear();
  }
  /** Start again behind `seq`. @param {number} seq */
  restart(seq) {
    this.received = seq;
    this.#parked.clear();
  }
};
var Streams = class {
  /** @type {Map<string, number>} */
  #expected = /* @__PURE__ */ new Map();
  /** Follow what an entry says about a stream. @param {Entry} entry */
  follow({ name, data }) {
    if (data?.n != null) return;
    if (name === "message_remove" || name === "step_remove") this.#expected.delete(data?.id);
    const isStep2 = name === "step" || name === "step_update";
    if (name !== "message" && name !== "message_update" && !isStep2) return;
    if (!data?.streaming) this.#expected.delete(data?.id);
    else if (isStep2 || !this.#expected.has(data.id)) this.#expected.set(data.id, 0);
  }
  /** Whether a piece is the next one. Others are old, or wait for a `stream`. @param {string} id @param {number} index */
  take(id, index) {
    if (this.#expected.get(id) !== index) return false;
    this.#expected.set(id, index + 1);
    return true;
  }
  /** @param {string} id @param {number} index of the next piece */
  resync(id, index) {
    this.#expected.set(id, index);
  }
  clear() {
    this.#expected.clear();
  }
};

// src/frames.js
var RETRY_CODES = /* @__PURE__ */ new Set(["rate_limited", "busy", "storage_unavailable"]);
var FINAL_CODES = /* @__PURE__ */ new Set(["bad_frame", "too_large", "unauthorized", "forbidden", "call_closed"]);
var NAME = /^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}$/u;
var MAX_DEPTH = 64;
function readable(text, longest) {
  if (typeof text !== "string") return void 0;
  const clean = wellFormed(text);
  return clean === text && [...text].length <= longest && !CONTROLS.test(text) ? text : void 0;
}
function wellFormed(text) {
  return decoder.decode(encoder2.encode(text));
}
function isTooDeep(value, left = MAX_DEPTH) {
  if (typeof value !== "object" || value === null) return false;
  return left === 0 || Object.values(value).some((inner) => isTooDeep(inner, left - 1));
}
var CONTROLS = /[\x00-\x1f\x7f-\x9f]/;
function asTurn(turn) {
  if (turn === null || turn === void 0) return null;
  return typeof turn === "object" ? { type: "turn", status: "running", ...turn } : { type: "turn", turn, name: "", status: "running" };
}
function asEntry(item, seq) {
  if (item.type === "answer") return { seq, n: item.n, name: "answer", data: { call: item.call, data: item.data } };
  return { seq, n: item.n, name: item.name ?? "", data: item.data };
}
function copied(frame) {
  return JSON.parse(JSON.stringify(frame), repaired);
}
function repaired(_key, value) {
  if (typeof value === "string") return wellFormed(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  return keys.every((key) => wellFormed(key) === key) ? value : Object.fromEntries(keys.map((key) => [wellFormed(key), value[key]]));
}
var encoder2 = new TextEncoder();
var decoder = new TextDecoder("utf-8", { ignoreBOM: true });
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 15 | 64;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// src/errors.js
var ChatClientError = class extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "ChatClientError";
    this.code = code;
  }
};

// src/hold.js
function holdBy(locks, siblings, timers) {
  return locks ? new Lock(locks, timers) : new Question(siblings, timers);
}
var Lock = class {
  #locks;
  #timers;
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  #held = false;
  /** @type {(ours: boolean) => void} */
  #told = () => {
  };
  /** Gives it up, or stops asking. */
  #leave = () => {
  };
  /** @param {Locks} locks @param {import("./timers.js").Timers} timers */
  constructor(locks, timers) {
    this.#locks = locks;
    this.#timers = timers;
  }
  /** @param {string} session @param {number} patience @param {(ours: boolean) => void} told */
  take(session, patience, told) {
    if (this.#held && this.#session === session) return told(true);
    this.#told = told;
    if (this.#session === session) return void 0;
    this.release();
    this.#told = told;
    this.#session = session;
    this.#ask(session, patience);
    return void 0;
  }
  /** @param {string} session */
  keep(session) {
    this.take(session, KEEPING, () => {
    });
  }
  release() {
    this.#leave();
    this.#leave = () => {
    };
    this.#told = () => {
    };
    this.#session = null;
    this.#held = false;
  }
  heard() {
  }
  /** @param {string} session @param {number} patience */
  #ask(session, patience) {
    const stop = new AbortController();
    const timer = this.#timers.setTimeout(() => stop.abort(), patience);
    this.#leave = () => {
      this.#timers.clearTimeout(timer);
      stop.abort();
    };
    const current = () => this.#session === session && this.#leave === leave;
    const leave = this.#leave;
    const granted = () => new Promise((resolve) => {
      this.#timers.clearTimeout(timer);
      if (!current()) return resolve();
      this.#held = true;
      this.#leave = resolve;
      const told = this.#told;
      queueMicrotask(() => told(true));
    });
    this.#locks.request(`chatsessions:${session}`, { signal: stop.signal }, granted).catch((error) => {
      if (!current()) return;
      this.#timers.clearTimeout(timer);
      const told = this.#told;
      this.release();
      told(error.name !== "AbortError");
    });
  }
};
var KEEPING = 5e3;
var ANSWER_WITHIN = 150;
var Question = class {
  #siblings;
  #timers;
  #id = uuid();
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  /** While the question is open: who waits for its answer. @type {((ours: boolean) => void) | null} */
  #told = null;
  /** @type {any} */
  #timer = null;
  /** @param {import("./siblings.js").Siblings} siblings @param {import("./timers.js").Timers} timers */
  constructor(siblings, timers) {
    this.#siblings = siblings;
    this.#timers = timers;
  }
  /** @param {string} session @param {number} _patience a page that has left does not answer @param {(ours: boolean) => void} told */
  take(session, _patience, told) {
    if (this.#session === session) {
      if (!this.#told) return told(true);
      this.#told = told;
      return void 0;
    }
    this.keep(session);
    if (!this.#siblings.say({ asks: session, by: this.#id })) return told(true);
    this.#told = told;
    this.#timer = this.#timers.setTimeout(() => this.#answered(true), ANSWER_WITHIN);
    return void 0;
  }
  /** @param {string} session */
  keep(session) {
    this.release();
    this.#session = session;
  }
  release() {
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    this.#session = null;
  }
  /** @param {any} message */
  heard({ asks, has, by, to }) {
    if (this.#session === null) return;
    if (has === this.#session && to === this.#id && this.#told) this.#answered(false);
    else if (asks === this.#session && typeof by === "string") this.#asked(by);
  }
  /** @param {string} by who asks for what we hold, or ask for too */
  #asked(by) {
    if (this.#told && by < this.#id) this.#answered(false);
    else this.#siblings.say({ has: this.#session, to: by });
  }
  /** @param {boolean} ours */
  #answered(ours) {
    const told = this.#told;
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    if (!ours) this.#session = null;
    told?.(ours);
  }
};

// src/identity.js
var Identity = class {
  /** @type {string | null} */
  session = null;
  /** @type {string | null} */
  token = null;
  /** @type {string | undefined} */
  profile;
  /** @type {string | undefined} */
  thread;
  /** @type {Record<string, string>} */
  env;
  /** Who is here, as far as is known. @type {string | undefined} */
  owner;
  /** What the page asks for. */
  #given;
  #memory;
  /** What was left by somebody who was not logged in; who is here may have it if the session is theirs now. @type {Remembered | null} */
  #held;
  /** Whether it is not known who wrote what was left. */
  #unsigned;
  #met = false;
  /** Whether a conversation of somebody who was logged in is left here, which is not asked for. */
  #lost;
  /** @param {Memory} memory @param {Wishes} wishes of the page */
  constructor(memory, { profile, thread, env = {}, owner }) {
    this.#memory = memory;
    env = checkedEnv(env);
    this.#given = { profile, thread, env };
    this.owner = owner ?? memory.owner;
    this.env = checkedEnv({ ...env, ...memory.env });
    this.#unsigned = memory.owner === void 0 && !memory.empty;
    this.#lost = memory.access === "nothing";
    const remembered = memory.load();
    const same = agrees(profile, remembered.profile) && agrees(thread, remembered.thread);
    if (same) [this.session, this.token] = [remembered.session, remembered.token];
    const ours = memory.access === "all";
    this.#held = same && !ours ? remembered : null;
    this.profile = profile ?? (ours ? remembered.profile : void 0);
    this.thread = thread ?? (ours ? remembered.thread : void 0);
    this.left = { pending: ours ? remembered.pending : [], next: ours && same ? remembered.next : 1 };
  }
  /** The first frame of a connection. @param {number} received @param {string | undefined} language @returns {Frame} */
  hello(received, language) {
    const credentials = this.session ? { session: this.session, token: this.token } : {};
    const env = Object.keys(this.env).length ? this.env : void 0;
    const wishes = { language: readable(language, 35), profile: readable(this.profile, 200), thread: readable(this.thread, 100) };
    return { type: "hello", ...credentials, received, client_type: "webapp", ...wishes, env, owner: this.owner, bundles: true };
  }
  /** Why it is another log. @param {string} reason as the server says it */
  reasonOf(reason) {
    const lost = this.#lost;
    this.#lost = false;
    return lost && reason === "new" ? "unknown" : reason;
  }
  /** @param {Frame} welcome @returns {Meeting} */
  welcomed({ session, token, resumed, reason, owner }) {
    const meeting = resumed ? this.#rejoin(owner) : this.#meet(owner);
    this.#held = null;
    this.#unsigned = false;
    this.#met = true;
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = void 0;
    return meeting;
  }
  /** Somebody else is here, and was not let in. @param {string} owner @returns {Meeting} */
  refused(owner) {
    const meeting = this.#meet(owner);
    this.#held = null;
    this.session = this.token = null;
    return meeting;
  }
  /** The session is theirs, and so is all that was written in it. @param {string | undefined} owner @returns {Meeting} */
  #rejoin(owner) {
    const adopt = this.#held;
    const changed = owner !== void 0 && this.owner !== void 0 && owner !== this.owner;
    if (owner !== void 0) this.#memory.belongsTo(owner, true);
    this.owner = owner ?? this.owner;
    this.profile ??= adopt?.profile;
    this.thread ??= adopt?.thread;
    this.env = adopt ? checkedEnv({ ...this.#given.env, ...this.#memory.env }) : this.env;
    return { forget: "", adopt, again: (changed || Boolean(adopt)) && Object.keys(this.env).length > 0 };
  }
  /** They have a session of their own now, or none. @param {string | undefined} owner of a server that tells @returns {Meeting} */
  #meet(owner) {
    const before = this.owner;
    if (owner === void 0) return { forget: "", adopt: null, again: false };
    this.owner = owner;
    const theirs = before === void 0 ? !this.#unsigned : before === owner;
    this.#memory.belongsTo(owner, before === void 0 && theirs);
    if (theirs) return { forget: "", adopt: null, again: false };
    const { profile, thread, env } = this.#met ? { profile: void 0, thread: void 0, env: {} } : this.#given;
    this.#given = { profile, thread, env };
    [this.profile, this.thread, this.env] = [profile, thread, { ...env }];
    const wishes = profile !== void 0 || thread !== void 0 || Object.keys(env).length > 0;
    return before === void 0 ? { forget: "left", adopt: null, again: false } : { forget: "all", adopt: null, again: wishes };
  }
  /** Be nobody's, until the next `welcome`. @param {string | undefined} thread @param {string | undefined} profile */
  restart(thread, profile) {
    this.session = this.token = null;
    this.#held = null;
    this.thread = thread;
    this.profile = profile;
  }
  /** It is another tab's conversation: this one begins its own. */
  separate() {
    this.restart(this.#given.thread, this.profile);
  }
  /** @param {Record<string, string>} values that a person gave */
  setEnv(values) {
    values = checkedEnv(values);
    this.env = { ...this.#given.env, ...values };
    this.#memory.env = values;
  }
  /** @param {number} next the number of the next frame @param {readonly Outgoing[]} pending */
  save(next, pending) {
    const { session, token, profile, thread } = this;
    this.#memory.save({ session, token, next, pending: [...pending], profile, thread });
  }
};
function agrees(asked, remembered) {
  return asked === void 0 || asked === remembered;
}
function checkedEnv(values) {
  const texts2 = Object.entries(values).map(([name, text]) => {
    if (typeof text !== "string") throw new ChatClientError("bad_env", `The value of ${wellFormed(name)} is no text.`);
    return [wellFormed(name), wellFormed(text)];
  });
  return Object.fromEntries(texts2);
}

// src/page.js
var WAKING = ["online", "pageshow", "visibilitychange"];
var Page = class {
  #target;
  #handlers;
  /** @param {EventTarget | null} target @param {{woke: () => void, left: () => void}} handlers */
  constructor(target, handlers) {
    this.#target = target;
    this.#handlers = handlers;
  }
  listen() {
    for (const type of WAKING) this.#target?.addEventListener(type, this.#wake);
    this.#target?.addEventListener("pagehide", this.#leave);
  }
  unlisten() {
    for (const type of WAKING) this.#target?.removeEventListener(type, this.#wake);
    this.#target?.removeEventListener("pagehide", this.#leave);
  }
  #leave = () => this.#handlers.left();
  #wake = () => {
    if (globalThis.document?.visibilityState !== "hidden") this.#handlers.woke();
  };
};

// src/pace.js
var MARGIN = 1.03;
var QUICKER = { rate_limited: 0.995, busy: 0.98 };
var SAVED = 32;
var Pace = class {
  /** Milliseconds for each event; 0 while it is not known. */
  #interval = 0;
  #quicker = 1;
  /** The last event that was refused, and when it can be taken. @type {{n: number, at: number} | null} */
  #refused = null;
  /** When the next may go. */
  #next = 0;
  /** How many events may go now. @param {number} now */
  room(now) {
    if (!this.#interval) return Infinity;
    return Math.max(0, Math.floor((now - this.#next) / this.#interval) + 1);
  }
  /** How long the next has to wait, in milliseconds. @param {number} now */
  wait(now) {
    return this.#interval ? Math.max(0, this.#next - now) : 0;
  }
  /** So many were sent. @param {number} count @param {number} now */
  sent(count, now) {
    this.#next = Math.max(this.#next, now - SAVED * this.#interval) + count * this.#interval;
  }
  accepted() {
    this.#interval *= this.#quicker;
  }
  /**
   * Event `n` was refused, and can be taken at `at`.
   * @param {string} code @param {number} n @param {number} at in milliseconds
   */
  refused(code, n, at) {
    if (!(code in QUICKER)) return;
    this.#quicker = QUICKER[code];
    const before = this.#refused;
    if (before && n > before.n) this.#interval = MARGIN * Math.max(0, at - before.at) / (n - before.n);
    this.#refused = { n, at };
    this.#next = at;
  }
  /** The numbers are others from now on. */
  renumbered() {
    this.#refused = null;
  }
};

// src/timers.js
var systemTimers = {
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => Date.now()
};
var Timeouts = class {
  #timers;
  /** @type {Map<string, any>} */
  #running = /* @__PURE__ */ new Map();
  /** @param {Timers} timers */
  constructor(timers) {
    this.#timers = timers;
  }
  /** @param {string} name @param {number} delay @param {() => void} callback */
  start(name, delay, callback) {
    this.cancel(name);
    const expired = () => {
      this.#running.delete(name);
      callback();
    };
    this.#running.set(name, this.#timers.setTimeout(expired, delay));
  }
  /** @param {string} name */
  runs(name) {
    return this.#running.has(name);
  }
  /** @param {string} name */
  cancel(name) {
    this.#timers.clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }
  cancelAll() {
    for (const name of [...this.#running.keys()]) this.cancel(name);
  }
};

// src/sender.js
var RESEND_AFTER = 5e3;
var WINDOW = 100;
var MAX_WINDOW = 32;
var Sender = class {
  #outbox;
  #timers;
  #timeouts;
  #write;
  #ping;
  #changed;
  #pace = new Pace();
  #online = false;
  #window = MAX_WINDOW;
  /** The frame that was refused for now: until it is accepted none goes behind it. @type {number | null} */
  #refused = null;
  /** The frame that the server was missing, and that is on its way again: each behind it complains. @type {number | null} */
  #missing = null;
  /** @type {Search | null} */
  #search = null;
  /**
   * @param {Outbox} outbox
   * @param {Timers} timers
   * @param {{write: (frame: Frame) => void, ping: () => void, changed: () => void}} handlers `ping`: its answer calls `answered()`; `changed`: the outbox did
   */
  constructor(outbox, timers, { write, ping, changed }) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#timeouts = new Timeouts(timers);
    this.#write = write;
    this.#ping = ping;
    this.#changed = changed;
  }
  get items() {
    return this.#outbox.items;
  }
  get next() {
    return this.#outbox.next;
  }
  /** @param {Omit<Outgoing, "n">} frame */
  queue(frame) {
    const item = this.#outbox.push(frame);
    this.#moved();
    return item;
  }
  /** The server was met: it has stored everything up to `received`. @param {number} received @param {boolean} resumed */
  welcome(received, resumed) {
    if (!resumed) this.#restart();
    this.#outbox.resume(received);
    this.#changed();
  }
  /**
   * What was left from before this page is ours after all; to be followed by `welcome()`.
   * @param {readonly Outgoing[]} items @param {number} next
   */
  adopt(items, next) {
    this.#outbox.adopt(items, next);
  }
  /** Somebody else wrote these; to be followed by `welcome()`. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items) {
    this.#outbox.forget(items);
  }
  /** The line is open for our frames. @param {number} [window] how many may be on their way */
  start(window2 = WINDOW) {
    this.#window = Math.max(1, Math.min(window2, MAX_WINDOW));
    this.#online = true;
    this.#refused = this.#missing = null;
    if (this.#search) this.#search = { ...this.#search, last: this.#outbox.next - 1 };
    this.#pump();
  }
  /** The line is gone. */
  halt() {
    this.#online = false;
    this.#timeouts.cancelAll();
    if (this.#search) this.#search = { ...this.#search, asked: false, suspect: null };
  }
  /** A new session without a past. */
  restart() {
    this.#restart();
    this.#changed();
  }
  /** @param {number} n @returns {Outgoing | undefined} the frame, if it waited */
  accepted(n) {
    const item = this.#outbox.accept(n);
    if (item) this.#pace.accepted();
    this.#progress();
    return item;
  }
  /** The log holds `entry` as our frame `n`. @param {number} n @param {{name: string, data: any}} entry */
  confirmed(n, entry) {
    if (!this.#outbox.items.length) return void this.#outbox.accept(n);
    this.#outbox.confirm(n, entry);
    this.#progress();
  }
  /** The replay is complete. */
  settle() {
    if (!this.#outbox.items.length) return;
    this.#outbox.settle();
    this.#progress();
  }
  /**
   * The server does not take frame `n` for a while, nor what was sent behind it.
   * @param {string} code @param {number} seconds @param {number} [n]
   * @returns {boolean} whether that is news: those behind it are refused like it
   */
  pause(code, seconds, n = this.#outbox.first) {
    const onTheWire = n >= this.#outbox.first && n < this.#outbox.first + this.#outbox.onTheWire;
    if (!onTheWire || this.#refused !== null && n > this.#refused) return false;
    const until = this.#timers.now() + seconds * 1e3;
    this.#pace.refused(code, n, until);
    this.#refused = n;
    this.#outbox.rewind(n);
    this.#timeouts.cancel("resend");
    this.#timeouts.start("pause", seconds * 1e3, () => this.#pump());
    return true;
  }
  /**
   * The server expects `n` next.
   * @param {number} n
   * @returns {boolean} whether that can be: what it has accepted it cannot miss
   */
  expected(n) {
    if (n < this.#outbox.first) return false;
    const known = n === this.#refused || n === this.#missing || this.#search !== null && n === this.#outbox.first;
    if (!Number.isInteger(n) || known || this.#timeouts.runs("pause")) return true;
    this.#missing = n;
    this.#outbox.rewind(n);
    this.#moved();
    return true;
  }
  /** Give up on a frame. @param {number} n @returns {Outgoing | undefined} it, as it was */
  discard(n) {
    const item = this.#outbox.refuse(n);
    if (!item) return void 0;
    this.#pace.renumbered();
    if (this.#refused !== null && n < this.#refused) this.#refused -= 1;
    this.#progress();
    return item;
  }
  /** The line broke under a frame that was too large: give up on the largest. */
  discardLargest() {
    const item = this.#outbox.largestWritten();
    return item && this.discard(item.n);
  }
  /** The frames beyond the server's limit. @param {number} limit in bytes */
  oversized(limit) {
    return this.#outbox.oversized(limit);
  }
  // --- what the server cannot read ---------------------------------------------------------------
  /**
   * The server could not read a frame, and cannot say which.
   * @returns {{searching: boolean, found?: Outgoing}} whether one of ours may be it; and if that is clear, it, given up
   */
  unreadable() {
    const search = this.#search;
    if (search && search.suspect !== null) {
      const found = this.#outbox.refuse(search.suspect);
      search.suspect = null;
      search.last -= 1;
      search.fruitful = true;
      this.#pace.renumbered();
      this.#progress();
      return { searching: true, found };
    }
    if (search) return { searching: true };
    if (!this.#outbox.waiting) return { searching: false };
    this.#begin();
    this.#ask(null);
    return { searching: true };
  }
  /** The line was closed over frames that the server could not read. @returns {boolean} whether another is worth while */
  searchAnew() {
    const before = this.#search;
    if (!this.#outbox.items.length || before?.tried && !before.fruitful) return false;
    this.#begin();
    return true;
  }
  /** A ping of ours was answered. */
  answered() {
    const search = this.#search;
    if (!search) return;
    if (!search.tried) this.#outbox.rewind();
    search.asked = false;
    search.suspect = null;
    this.#pump();
  }
  #begin() {
    this.#search = { asked: false, suspect: null, last: this.#outbox.next - 1, tried: false, fruitful: false };
  }
  /** @param {number | null} suspect */
  #ask(suspect) {
    const search = (
      /** @type {Search} */
      this.#search
    );
    search.asked = true;
    search.suspect = suspect;
    this.#ping();
  }
  #searchOn() {
    const search = (
      /** @type {Search} */
      this.#search
    );
    if (search.asked || this.#outbox.onTheWire) return;
    for (const frame of this.#outbox.take(1)) {
      search.tried = true;
      this.#write(frame);
      this.#ask(frame.n);
    }
  }
  // --- moving on ---------------------------------------------------------------------------------
  /** Something left the outbox: whoever waits may move up. */
  #progress() {
    const { first } = this.#outbox;
    this.#timeouts.cancel("resend");
    if (this.#refused !== null && first > this.#refused) this.#refused = null;
    if (this.#missing !== null && first > this.#missing) this.#missing = null;
    if (this.#search && first > this.#search.last) this.#search = null;
    this.#moved();
  }
  #moved() {
    this.#changed();
    this.#pump();
  }
  #pump() {
    if (!this.#online || this.#timeouts.runs("pause")) return;
    if (this.#search) this.#searchOn();
    else this.#send();
    if (!this.#outbox.waiting || this.#timeouts.runs("resend")) return;
    this.#timeouts.start("resend", RESEND_AFTER, () => this.#resend());
  }
  #send() {
    const now = this.#timers.now();
    const { onTheWire } = this.#outbox;
    const room = Math.min(this.#window - onTheWire, this.#pace.room(now));
    const frames = this.#outbox.take(onTheWire + room, this.#refused ?? Infinity);
    for (const frame of frames) this.#write(frame);
    this.#pace.sent(frames.length, now);
    if (!this.#outbox.more || this.#timeouts.runs("pace")) return;
    const wait = this.#pace.wait(now);
    if (wait) this.#timeouts.start("pace", wait, () => this.#pump());
  }
  #resend() {
    this.#missing = null;
    this.#outbox.rewind();
    this.#pump();
  }
  #restart() {
    this.#outbox.restart();
    this.#pace.renumbered();
  }
};
var ACK_EVERY = 1e3;
var ACK_ENTRIES = 32;
var Acknowledger = class {
  #timeouts;
  #acknowledge;
  #entries = 0;
  /** @param {Timers} timers @param {() => void} acknowledge */
  constructor(timers, acknowledge) {
    this.#timeouts = new Timeouts(timers);
    this.#acknowledge = acknowledge;
  }
  /** @param {number} entries of the log; 0 for what is not in it */
  arrived(entries) {
    this.#entries += entries;
    if (this.#entries >= ACK_ENTRIES) this.#now();
    else if (!this.#timeouts.runs("ack")) this.#timeouts.start("ack", ACK_EVERY, () => this.#now());
  }
  halt() {
    this.#timeouts.cancelAll();
    this.#entries = 0;
  }
  #now() {
    this.halt();
    this.#acknowledge();
  }
};

// src/siblings.js
var NAME2 = "chatsessions";
var Siblings = class {
  #Channel;
  #heard;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @param {Channel | null} Channel @param {(message: any) => void} heard another tab says something */
  constructor(Channel, heard) {
    this.#Channel = Channel;
    this.#heard = heard;
  }
  open() {
    this.close();
    try {
      if (!this.#Channel) return;
      this.#channel = new this.#Channel(NAME2);
      this.#channel.onmessage = ({ data }) => {
        if (data && typeof data === "object") this.#heard(data);
      };
    } catch {
      this.#channel = null;
    }
  }
  close() {
    this.#channel?.close();
    this.#channel = null;
  }
  /** @param {object} message @returns {boolean} whether somebody may hear it */
  say(message) {
    try {
      this.#channel?.postMessage(message);
      return this.#channel !== null;
    } catch {
      return false;
    }
  }
};

// src/storage.js
var KINDS = ["draft", "env", "files", "relayed"];
var Memory = class {
  #storage;
  #key;
  /** Who is here. @type {string | undefined} */
  #reader;
  /**
   * @param {string} url
   * @param {Storage | null} [storage]
   * @param {{owner?: string, key?: string}} [options] who is here, if the page knows; which of several chats of one address it is
   */
  constructor(url, storage = tabStorage(), { owner, key = "" } = {}) {
    this.#storage = storage;
    this.#key = `chatsessions:${url}${key && `#${key}`}`;
    this.#reader = owner;
    if (key && this.empty) this.#inherit(`chatsessions:${url}`);
    if (owner && this.owner && this.owner !== owner) this.#forget();
  }
  /** Who wrote what is here. @returns {string | undefined} */
  get owner() {
    const owner = json(this.#read(`${this.#key}:owner`));
    return typeof owner === "string" ? owner : void 0;
  }
  /**
   * What of it is for who is here: `all`; the `session` alone, which was begun without a login and
   * may have been assigned to them meanwhile; or `nothing`.
   * @returns {"all" | "session" | "nothing"}
   */
  get access() {
    if (this.#reader === void 0 || this.#reader === this.owner) return "all";
    return this.owner ? "nothing" : "session";
  }
  /** Whether anything is here. */
  get empty() {
    return [this.#key, ...this.#keys].every((key) => this.#read(key) === null);
  }
  /**
   * The server says who is here.
   * @param {string} owner
   * @param {boolean} theirs what is here, whoever wrote it; else it is forgotten
   */
  belongsTo(owner, theirs) {
    this.#reader = owner;
    if (this.owner === owner) return;
    if (!theirs) this.#forget();
    this.#write(`${this.#key}:owner`, JSON.stringify(owner));
  }
  /** @returns {Remembered} what is not for who is here is left out, but for a session that may be theirs */
  load() {
    return parse(this.access === "nothing" ? null : this.#read(this.#key));
  }
  /** @param {Remembered} remembered */
  save(remembered) {
    if (!this.#storage) return;
    this.#claim();
    if (this.#write(this.#key, JSON.stringify(remembered))) return;
    this.#write(this.#key, JSON.stringify({ ...remembered, pending: [] }));
  }
  /** What was being written and not sent. */
  get draft() {
    return this.#recall("draft") ?? "";
  }
  set draft(text) {
    this.#keep("draft", text);
  }
  /** Values for the handlers that a person gave; nowhere else are they kept. @returns {Record<string, string>} */
  get env() {
    return strings(json(this.#recall("env")));
  }
  set env(values) {
    this.#keep("env", Object.keys(values).length ? JSON.stringify(values) : "");
  }
  /** What is remembered of a kind. @param {Kind} kind @returns {any} */
  recall(kind) {
    return json(this.#recall(kind));
  }
  /** @param {Kind} kind @param {any} value that JSON can say; `null`: forget */
  keep(kind, value) {
    this.#keep(kind, value === null ? "" : JSON.stringify(value));
  }
  /** The page was left, and may be back: what is here is not a duplicate's. */
  leave() {
    this.#write(`${this.#key}:left`, "1");
  }
  /** Whether it was left before, and not copied from a page that is still there. */
  arrive() {
    const left = this.#read(`${this.#key}:left`) !== null;
    this.#write(`${this.#key}:left`, "");
    return left;
  }
  /** What a release left that had one memory for all chats of an address. @param {string} before */
  #inherit(before) {
    if (this.#read(before) === null || this.#read(`${before}:owner`) !== null) return;
    for (const suffix of ["", ...KINDS.map((kind) => `:${kind}`)]) {
      this.#write(`${this.#key}${suffix}`, this.#read(`${before}${suffix}`) ?? "");
      this.#write(`${before}${suffix}`, "");
    }
  }
  get #keys() {
    return KINDS.map((kind) => `${this.#key}:${kind}`);
  }
  /** @param {Kind} kind */
  #recall(kind) {
    return this.access === "all" ? this.#read(`${this.#key}:${kind}`) : null;
  }
  /** @param {Kind} kind @param {string} text */
  #keep(kind, text) {
    this.#claim();
    this.#write(`${this.#key}:${kind}`, text);
  }
  /** Who is here writes: what somebody else has written is gone. */
  #claim() {
    if (this.#reader !== void 0) this.belongsTo(this.#reader, false);
  }
  #forget() {
    for (const key of [this.#key, ...this.#keys, `${this.#key}:owner`]) this.#write(key, "");
  }
  /** @param {string} key @returns {string | null} */
  #read(key) {
    try {
      return this.#storage?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }
  /** @param {string} key @param {string} value */
  #write(key, value) {
    try {
      if (value) this.#storage?.setItem(key, value);
      else this.#storage?.removeItem(key);
      return true;
    } catch {
      return false;
    }
  }
};
function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
function parse(text) {
  const value = json(text);
  const pending = Array.isArray(value?.pending) ? value.pending.filter(isOutgoing) : [];
  const known = typeof value?.session === "string" && typeof value?.token === "string";
  return {
    session: known ? value.session : null,
    token: known ? value.token : null,
    next: isNumber(value?.next) ? value.next : 1,
    pending,
    ...known && typeof value.profile === "string" ? { profile: value.profile } : {},
    ...known && typeof value.thread === "string" ? { thread: value.thread } : {}
  };
}
function json(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
function strings(value) {
  if (typeof value !== "object" || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, text]) => typeof text === "string"));
}
function isOutgoing(item) {
  if (!isNumber(item?.n)) return false;
  return item.type === "answer" ? typeof item.call === "string" : item.type === "event" && typeof item.name === "string";
}
function isNumber(value) {
  return Number.isInteger(value) && value > 0;
}
function websocketUrl(url, base = globalThis.document?.baseURI) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  resolved.hash = "";
  return resolved.href;
}

// src/client.js
var WELCOME_TIMEOUT = 1e4;
var SETTLED_AFTER = 5e3;
var HEARTBEAT = 20;
var GOING = 5e3;
var STAYING = 300;
var SAVED_AT_ONCE = 50;
var SAVE_EVERY = 2e3;
var FINAL_STATES = /* @__PURE__ */ new Set(["replaced", "ended", "refused"]);
var ChatClientEvent = class extends Event {
  /** @param {string} type @param {T} detail */
  constructor(type, detail) {
    super(type);
    this.detail = detail;
  }
};
var ChatClient = class extends EventTarget {
  #url;
  #options;
  #timers;
  #timeouts;
  #saving;
  #backoff;
  #memory;
  #identity;
  #hold;
  /** Whether the page that had the session before was left. */
  #returned;
  #page;
  #siblings;
  #sender;
  #acknowledger;
  #inbox = new Inbox();
  #streams = new Streams();
  /** @type {StateDetail} */
  #state = { state: "closed", attempt: 0 };
  /** @type {Frame | null} */
  #turn = null;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Monitor | null} */
  #monitor = null;
  #welcomed = false;
  #reached = false;
  /** The last error frame of this connection: the reason for a close that may follow. @type {Frame | null} */
  #lastError = null;
  /** The end of the log at the `welcome`, until the replay has reached it. @type {number | null} */
  #replayEnd = null;
  /** Who waits for a pong, in the order of their pings. @type {string[]} */
  #asking = [];
  /** How many of our events may be on the wire. @type {number | undefined} */
  #window;
  /** The end of the log at the last pong. */
  #promisedHead = 0;
  #maxFrame = Infinity;
  #ending = false;
  /**
   * @param {string} url of the websocket; a relative one belongs to the page's origin
   * @param {ChatClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = websocketUrl(url);
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#timeouts = new Timeouts(this.#timers);
    this.#saving = new Timeouts(this.#timers);
    this.#backoff = new Backoff({ random: options.random });
    this.#memory = new Memory(this.#url, options.storage, { owner: options.owner, key: options.key });
    this.#identity = new Identity(this.#memory, options);
    this.#returned = this.#memory.arrive();
    const { page = globalThis.window ?? null, BroadcastChannel = globalThis.BroadcastChannel ?? null, locks = globalThis.navigator?.locks ?? null } = options;
    this.#page = new Page(page, { woke: () => this.#woke(), left: () => this.#left() });
    this.#siblings = new Siblings(BroadcastChannel, (message) => this.#heard(message));
    this.#hold = holdBy(locks, this.#siblings, this.#timers);
    const { left } = this.#identity;
    this.#sender = new Sender(new Outbox(left.pending, left.next), this.#timers, {
      write: (frame) => this.#write(frame),
      ping: () => this.#ping("sender"),
      changed: () => this.#pendingChanged()
    });
    this.#acknowledger = new Acknowledger(this.#timers, () => this.#write({ type: "ack", seq: this.#inbox.received }));
  }
  /** The state and what belongs to it. */
  get state() {
    return this.#state;
  }
  /** Where it connects to. */
  get url() {
    return this.#url;
  }
  /** Whether the server has welcomed us, on this page. */
  get reached() {
    return this.#reached;
  }
  /** The session's id, once there is one. */
  get session() {
    return this.#identity.session;
  }
  /** What shows that the session is ours, for what goes beside the line: files. It changes with every connection. */
  get token() {
    return this.#identity.token;
  }
  /** The profile that the session was begun with, or will be. */
  get profile() {
    return this.#identity.profile;
  }
  set profile(name) {
    this.#identity.profile = name;
  }
  /** The old thread that the session goes on with, if it is not one of its own. */
  get thread() {
    return this.#identity.thread;
  }
  /** Values for the handlers, by their names. */
  get env() {
    return { ...this.#identity.env };
  }
  /** What this tab remembers of the chat. */
  get memory() {
    return this.#memory;
  }
  /** The highest `seq` up to which everything has been reported. */
  get received() {
    return this.#inbox.received;
  }
  /** The running turn, or null. */
  get turn() {
    return this.#turn;
  }
  /** What was sent and is not accepted yet, oldest first. */
  get pending() {
    return [...this.#sender.items];
  }
  /** Text that was written and not sent; it survives a reload. */
  get draft() {
    return this.#memory.draft;
  }
  set draft(text) {
    this.#memory.draft = text;
  }
  /** Connect, or try again at once. */
  connect() {
    const { state } = this.#state;
    if (state === "connecting" || state === "online") return;
    if (state === "closed") this.#listen();
    this.#open();
  }
  /** Hang up. The session goes on, and so can this client: `connect()`. */
  close() {
    this.#hangUp();
    this.#saveNow();
    this.#hold.release();
    this.#page.unlisten();
    this.#siblings.close();
    this.#setState("closed");
  }
  /** Take the conversation back from another tab or device. */
  takeOver() {
    this.connect();
  }
  /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. @param {Record<string, string>} values */
  setEnv(values) {
    this.#identity.setEnv(values);
    if (this.#state.state !== "closed" && this.#state.state !== "ended") this.#open();
  }
  /**
   * Begin a new conversation. What the old one has not accepted goes to the new one.
   * @param {{thread?: string, profile?: string}} [options] an old thread to go on with; another profile
   */
  newSession({ thread, profile = this.profile } = {}) {
    this.#hangUp();
    this.#identity.restart(thread, profile);
    this.#ending = false;
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#backoff.reset();
    if (this.#state.state === "closed") this.#listen();
    this.#open();
  }
  /**
   * Send an event to the session's handlers. It is kept until the server has stored it.
   * @param {string} name
   * @param {any} [data] anything JSON can say
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  send(name, data = {}) {
    return this.#queue({ type: "event", name, data });
  }
  /** Send what a person wrote. @param {string} text @param {string[]} [files] ids of files that were uploaded */
  sendMessage(text, files = []) {
    return this.send("message", { id: uuid(), content: text, ...files.length ? { files } : {} });
  }
  /**
   * Answer an `ask` event. Like an event it is kept until the server has stored it.
   * @param {string} call
   * @param {any} data by the kind of the question: `{content}`, `{id}` of an action, `{files}`: ids
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  answer(call, data) {
    return this.#queue({ type: "answer", call, data });
  }
  /** Cancel the running turn. */
  stop() {
    this.#write({ type: "stop" });
  }
  /** End the session for good; if the line is down, as soon as it is back. */
  end() {
    this.#ending = true;
    if (this.#welcomed) this.#write({ type: "end" });
  }
  // --- the line ---------------------------------------------------------------------------------
  #open() {
    const { state, reason, detail } = this.#state;
    this.#hangUp();
    this.#lastError = null;
    this.#setState("connecting", state === "offline" && reason ? { reason, detail } : {});
    this.#timeouts.start("welcome", WELCOME_TIMEOUT, () => this.#drop());
    try {
      this.#connection = new Connection(this.#url, this.#options.WebSocket ?? WebSocket, {
        opened: () => this.#hello(),
        received: (frame) => this.#receive(frame),
        closed: (code) => this.#closed(code)
      });
    } catch (error) {
      this.#hangUp();
      this.#setState("refused", { detail: String(error) });
    }
  }
  /** Say hello, once it is known that the session is not another tab's, whose duplicate this one is. */
  #hello() {
    const { session } = this;
    const connection = this.#connection;
    if (!session) return this.#sayHello();
    this.#hold.take(session, this.#returned ? GOING : STAYING, (ours) => {
      if (!ours) this.#separate();
      if (connection === this.#connection) this.#sayHello();
    });
  }
  /** Another tab has the session, and sends what waits in it. */
  #separate() {
    this.#identity.separate();
    this.#sender.forget(this.#identity.left.pending);
    this.#sender.restart();
  }
  #sayHello() {
    const { language = globalThis.navigator?.language } = this.#options;
    this.#write(this.#identity.hello(this.#inbox.received, language));
  }
  /** Leave the line, whatever its state, with all that runs on its behalf. */
  #hangUp() {
    this.#connection?.close();
    this.#connection = null;
    this.#monitor?.stop();
    this.#monitor = null;
    this.#welcomed = false;
    this.#asking = [];
    this.#replayEnd = null;
    this.#sender.halt();
    this.#acknowledger.halt();
    this.#timeouts.cancelAll();
  }
  /** The line is of no use any more: come back on another. */
  #drop() {
    this.#hangUp();
    this.#retryLater();
  }
  /** @param {number} code */
  #closed(code) {
    const error = this.#welcomed ? null : this.#lastError;
    const unreadable = code === 4500 && this.#welcomed && this.#lastError?.code === "bad_frame";
    this.#hangUp();
    if (unreadable && this.#sender.searchAnew()) return this.#retryLater(code);
    if (code === 1009) this.#tooLarge(this.#sender.discardLargest());
    if (code < 4500 || code > 4999) this.#retryLater(code, error);
    else if (code === 4509) this.#setState("replaced", { code });
    else if (code === 4503) this.#ended(void 0, code);
    else this.#setState("refused", { code, reason: this.#lastError?.code, detail: this.#lastError?.detail });
  }
  /** @param {string} [reason] @param {number} [code] */
  #ended(reason, code) {
    this.#hangUp();
    this.#ending = false;
    this.#setTurn(null);
    this.#setState("ended", { reason, code });
  }
  /** @param {number} [code] @param {Frame | null} [error] that came instead of a welcome */
  #retryLater(code, error) {
    const delay = this.#backoff.next();
    this.#timeouts.start("retry", delay, () => this.#open());
    this.#setState("offline", { retryIn: delay / 1e3, code, ...error ? { reason: error.code, detail: error.detail } : {} });
  }
  /** @param {"sender" | "monitor"} asking */
  #ping(asking) {
    this.#asking.push(asking);
    this.#write({ type: "ping" });
  }
  /** @param {Frame} frame */
  #write(frame) {
    if (this.#connection?.send(frame)) this.#monitor?.sent();
  }
  // --- frames in --------------------------------------------------------------------------------
  /** @param {Frame} frame */
  #receive(frame) {
    this.#monitor?.heard();
    if (frame.type === "error") this.#error(frame);
    else if (frame.type === "welcome") this.#welcome(frame);
    else if (frame.type === "ended") this.#ended(frame.reason);
    else if (this.#welcomed) this.#receiveLive(frame);
  }
  /** @param {Frame} frame */
  #receiveLive(frame) {
    if (frame.type === "event") this.#entry(frame);
    else if (frame.type === "accepted") this.#accepted(frame);
    else if (frame.type === "token") this.#tokenPiece(frame);
    else if (frame.type === "stream") this.#stream(frame);
    else if (frame.type === "turn") this.#setTurn(frame.status === "running" ? frame : null, frame);
    else if (frame.type === "pong") this.#pong(frame);
  }
  /** @param {Frame} welcome */
  #welcome(welcome) {
    const { session, token, resumed, reason, received, first, head, turn, heartbeat, max_frame } = welcome;
    this.#timeouts.cancel("welcome");
    this.#reached = true;
    const meeting = this.#identity.welcomed(welcome);
    this.#met(meeting);
    this.#maxFrame = max_frame ?? Infinity;
    this.#window = Number.isInteger(welcome.window) ? welcome.window : void 0;
    this.#inbox.resume();
    this.#sender.welcome(received ?? 0, resumed);
    this.#saveNow();
    this.#siblings.say({ session, token });
    this.#hold.keep(session);
    this.#returned = false;
    if (meeting.forget) this.#emit("owner", {});
    if (meeting.again) return resumed ? this.#open() : this.newSession({ thread: this.thread });
    if (!resumed) this.#restartLog(first - 1, this.#identity.reasonOf(reason));
    else if (first > this.#inbox.received + 1) this.#restartLog(first - 1, "gap");
    else if (head < this.#inbox.received) {
      this.#restartLog(0, "gap");
      return this.#drop();
    }
    this.#begin(heartbeat ?? HEARTBEAT, head, turn, Boolean(resumed));
  }
  /** What waits to be sent is theirs who are here, and nobody else's. @param {import("./identity.js").Meeting} meeting */
  #met({ forget, adopt }) {
    if (adopt) this.#sender.adopt(adopt.pending, adopt.next);
    if (forget === "all") this.#sender.forget();
    else if (forget === "left") this.#sender.forget(this.#identity.left.pending);
  }
  /** @param {number} heartbeat @param {number} head @param {any} turn @param {boolean} resumed */
  #begin(heartbeat, head, turn, resumed) {
    this.#welcomed = true;
    this.#promisedHead = 0;
    this.#replayEnd = head;
    this.#monitor = new Monitor(this.#timers, heartbeat * 1e3, {
      ping: () => this.#ping("monitor"),
      dead: () => this.#drop()
    });
    this.#timeouts.start("settled", SETTLED_AFTER, () => this.#backoff.reset());
    this.#setTurn(asTurn(turn));
    this.#setState("online");
    if (!this.#welcomed) return;
    for (const { n } of this.#sender.oversized(this.#maxFrame)) this.#tooLarge(this.#sender.discard(n));
    this.#ending &&= resumed;
    if (this.#ending) this.#write({ type: "end" });
    this.#sender.start(this.#window);
    this.#checkReplay();
  }
  /** @param {Frame} frame */
  #entry(frame) {
    const place = this.#inbox.place(frame.seq);
    if (place === "hole") return this.#drop();
    if (place === "old") return;
    this.#apply({ seq: frame.seq, name: frame.name, data: frame.data, turn: frame.turn, n: frame.n });
    this.#applyParked();
  }
  /** @param {Frame} frame `accepted`, which stands for the entry `seq` */
  #accepted({ n, seq }) {
    const item = this.#sender.accepted(n);
    const known = this.#inbox.has(seq);
    if (item && !known) this.#inbox.park(asEntry(item, seq));
    if (!item && !known) return this.#drop();
    this.#applyParked();
  }
  #applyParked() {
    for (let entry = this.#inbox.unpark(); entry; entry = this.#inbox.unpark()) this.#apply(entry);
  }
  /** The next entry of the log. @param {Entry} entry */
  #apply(entry) {
    const live = this.#replayEnd === null;
    this.#inbox.received = entry.seq;
    if (entry.n != null) this.#sender.confirmed(entry.n, entry);
    this.#streams.follow(entry);
    this.#acknowledger.arrived(1);
    this.#emit("event", { ...entry, live });
    this.#checkReplay();
  }
  #checkReplay() {
    if (this.#replayEnd === null || this.#inbox.received < this.#replayEnd) return;
    this.#replayEnd = null;
    this.#sender.settle();
    this.#emit("ready", {});
  }
  /** @param {Frame} frame */
  #tokenPiece({ message, index, text }) {
    this.#acknowledger.arrived(0);
    if (this.#streams.take(message, index)) this.#emit("token", { message, index, text });
  }
  /** @param {Frame} frame */
  #stream({ message, index, content }) {
    this.#acknowledger.arrived(0);
    this.#streams.resync(message, index);
    this.#emit("stream", { message, content });
  }
  /** @param {Frame} frame */
  #pong({ head }) {
    if (this.#asking.shift() === "sender") return this.#sender.answered();
    if (this.#inbox.received < this.#promisedHead) return this.#drop();
    this.#promisedHead = head ?? 0;
  }
  /** @param {Frame} frame */
  #error({ code, detail, n, retry_after, owner }) {
    if (owner || owner === "" && code === "missing_env") this.#refusedAs(owner);
    this.#lastError = { type: "error", code, detail };
    if (code === "n_gap") return this.#sender.expected(n) ? void 0 : this.#drop();
    if (RETRY_CODES.has(code) && !this.#sender.pause(code, retry_after ?? 1, n ?? void 0) && n != null) return;
    if (code === "bad_frame" && n == null && this.#welcomed) return this.#unreadable(detail);
    const frame = FINAL_CODES.has(code) && n != null ? this.#sender.discard(n) : void 0;
    this.#emit("notice", { code, detail, frame, retryAfter: retry_after });
  }
  /** @param {string} detail */
  #unreadable(detail) {
    const { searching, found } = this.#sender.unreadable();
    if (found || !searching) this.#emit("notice", { code: "bad_frame", detail, frame: found });
  }
  /** Our hello was somebody else's. @param {string} owner who is here */
  #refusedAs(owner) {
    this.#met(this.#identity.refused(owner));
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#emit("owner", {});
  }
  // --- frames out -------------------------------------------------------------------------------
  /** @param {Omit<Outgoing, "n">} frame */
  #queue(frame) {
    if (FINAL_STATES.has(this.#state.state)) throw new ChatClientError("closed", "This conversation cannot go on here.");
    const copy = sendable(frame);
    if (byteLength({ ...copy, n: this.#sender.next }) > this.#maxFrame) throw new ChatClientError("too_large", this.#limit());
    return { ...this.#sender.queue(copy) };
  }
  /** @param {Outgoing | undefined} frame that will never be sent */
  #tooLarge(frame) {
    this.#emit("notice", { code: "too_large", detail: this.#limit(), frame });
  }
  #limit() {
    const limit = Number.isFinite(this.#maxFrame) ? `: at most ${this.#maxFrame} bytes can be sent at once` : "";
    return `The message is too large${limit}.`;
  }
  #pendingChanged() {
    if (this.#sender.items.length <= SAVED_AT_ONCE) this.#save();
    else if (!this.#saving.runs("save")) this.#saving.start("save", SAVE_EVERY, () => this.#save());
    this.#emit("pending", this.pending);
  }
  // --- what the page says -----------------------------------------------------------------------
  #listen() {
    this.#page.listen();
    this.#siblings.open();
  }
  /** The network or the person is back. */
  #woke() {
    this.#memory.arrive();
    if (this.#state.state === "offline") this.#open();
    else this.#monitor?.probe();
  }
  /** The page goes: to be loaded again, or to come back as it is. */
  #left() {
    this.#saveNow();
    this.#hold.release();
    this.#returned = true;
    this.#memory.leave();
  }
  /** @param {any} message what another tab says, such as a new token: the old one will soon be worth nothing */
  #heard(message) {
    this.#hold.heard(message);
    if (message.session !== this.session || typeof message.token !== "string") return;
    this.#identity.token = message.token;
    this.#save();
  }
  // --- small things -----------------------------------------------------------------------------
  /** @param {number} seq @param {string} reason */
  #restartLog(seq, reason) {
    this.#inbox.restart(seq);
    this.#streams.clear();
    this.#setTurn(null);
    this.#emit("reset", { reason });
  }
  /** @param {State} state @param {Partial<StateDetail>} [rest] */
  #setState(state, rest = {}) {
    this.#state = { state, attempt: this.#backoff.attempt, ...rest };
    this.#emit("state", this.#state);
  }
  /** @param {Frame | null} turn @param {Frame | null} [report] */
  #setTurn(turn, report = turn) {
    this.#turn = turn;
    this.#emit("turn", report && { turn: report.turn, name: report.name, status: report.status });
  }
  #save() {
    this.#saving.cancel("save");
    this.#identity.save(this.#sender.next, this.#sender.items);
  }
  /** Write down what has changed, if that has not been done yet. */
  #saveNow() {
    if (this.#saving.runs("save")) this.#save();
  }
  /** @param {string} type @param {any} detail */
  #emit(type, detail) {
    this.dispatchEvent(new ChatClientEvent(type, detail));
  }
};
function sendable(frame) {
  const { type, name, call, data } = frame;
  if (type === "event" && !(typeof name === "string" && NAME.test(name))) throw new ChatClientError("bad_name", "An event's name has 1 to 100 characters.");
  if (name === "answer") throw new ChatClientError("bad_name", "An answer to a question is sent by answer().");
  if (type === "answer" && !(typeof call === "string" && call.length <= 100)) throw new ChatClientError("bad_call", "A question is named by its call.");
  let copy;
  try {
    copy = copied(frame);
  } catch (error) {
    throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${error}`);
  }
  if (copy.data === void 0) throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${typeof data}`);
  if (isTooDeep(copy.data)) throw new ChatClientError("bad_data", `The data is nested deeper than ${MAX_DEPTH} levels.`);
  return copy;
}

// src/icons.js
var STROKES = {
  "arrow-right": "M5 12h14M13 6l6 6-6 6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 3a9 9 0 1 0 .01 0M12 7v5l3.5 2",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  exit: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  heart: "M12 20S4 15 4 9.2A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.2C20 15 12 20 12 20z",
  key: "M16 4a4 4 0 1 0 .01 0M13 11l-8 8.5h3.5V17H11v-2.5",
  paperclip: "M20 11.5l-8.2 8.2a5 5 0 0 1-7.1-7.1l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.7-7.7",
  pencil: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  play: "M7 4.5v15l12-7.5z",
  plus: "M12 5v14M5 12h14",
  refresh: "M19.5 14a8 8 0 1 1-1-6.5M20 4v5h-5",
  search: "M10.5 4a6.5 6.5 0 1 0 .01 0M15.5 15.5L20 20",
  sliders: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  star: "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z",
  "thumbs-down": "M7 13V4H4v9zM7 13l4 7c1.6 0 2.3-1.2 2-2.6L12.5 14H19a1.6 1.6 0 0 0 1.6-2l-1.7-6.5A2 2 0 0 0 17 4H7",
  "thumbs-up": "M7 11v9H4v-9zM7 11l4-7c1.6 0 2.3 1.2 2 2.6L12.5 10H19a1.6 1.6 0 0 1 1.6 2l-1.7 6.5A2 2 0 0 1 17 20H7",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  x: "M6 6l12 12M18 6L6 18"
};
var SVG = "http://www.w3.org/2000/svg";
var LONGEST = 12;
function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", STROKES[name]);
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", part: "icon" })) {
    svg.setAttribute(key, value);
  }
  svg.append(path);
  return svg;
}
function namedIcon(name) {
  if (typeof name !== "string" || !name.trim()) return null;
  if (Object.hasOwn(STROKES, name)) return icon(name);
  if (name.length > LONGEST || /[\w./:\\-]{3}/.test(name)) return null;
  const sign = document.createElement("span");
  sign.setAttribute("part", "icon");
  sign.setAttribute("aria-hidden", "true");
  sign.textContent = name;
  return sign;
}

// src/dom.js
function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}
function button(part, label, clicked, attributes = {}) {
  const element = create("button", { type: "button", part, ...attributes }, label);
  element.addEventListener("click", clicked);
  return element;
}
function tool(part, picture, label, clicked, attributes = {}) {
  const element = create("button", { type: "button", part, title: label, ...attributes }, icon(picture), create("span", { part: "tool-label" }, label));
  element.addEventListener("click", clicked);
  return element;
}
function dialogOf(part, title, close, ...children) {
  const id = `${part}-title`;
  const dismiss = button("dialog-close", "", () => dialog.close(), { "aria-label": close, title: close });
  dismiss.append(icon("x"));
  const dialog = create(
    "dialog",
    { part: `dialog ${part}`, "aria-labelledby": id },
    create("header", { part: "dialog-header" }, create("h3", { part: "dialog-title", id }, title), dismiss),
    ...children
  );
  dialog.addEventListener("pointerdown", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (event.target === dialog && !inside) dialog.close();
  });
  return dialog;
}
function isolated(text, part) {
  return create("bdi", { part: part ?? null }, text);
}

// src/requests.js
var UploadError = class extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "UploadError";
    this.code = code;
  }
};
var Requests = class {
  #base;
  #owner;
  #Request;
  /** @param {string} base where `chatsessions.urls` is included @param {{session: string | null, token: string | null}} owner @param {typeof XMLHttpRequest} Request */
  constructor(base, owner, Request) {
    this.#base = base.endsWith("/") ? base : `${base}/`;
    this.#owner = owner;
    this.#Request = Request;
  }
  /** The address of what lies below the session's. @param {string} path */
  url(path) {
    return `${this.#base}${this.#owner.session}/${path}`;
  }
  /** What shows whose request it is. */
  get credentials() {
    return { Authorization: `Bearer ${this.#owner.token}` };
  }
  /**
   * Ask, and once more if the token has changed meanwhile.
   * @template {{status: number}} T
   * @param {() => Promise<T>} ask
   */
  async twice(ask) {
    const token = this.#owner.token;
    const answer = await ask();
    const refused = [401, 403, 404].includes(answer.status);
    return refused && this.#owner.token !== token ? ask() : answer;
  }
  /**
   * Send something that may be large, and tell how far it is.
   * @param {string} method @param {string} path @param {Sending} sending
   * @returns {Promise<Answer>} fails with `UploadError`
   */
  send(method, path, sending) {
    return this.twice(() => this.#send(method, path, sending));
  }
  /** @param {string} method @param {string} path @param {Sending} sending @returns {Promise<Answer>} */
  #send(method, path, { body, headers, progress, signal }) {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelled());
      const request = new this.#Request();
      const stop = () => request.abort();
      const settle = (how) => () => {
        signal.removeEventListener("abort", stop);
        how();
      };
      request.open(method, this.url(path));
      request.responseType = "text";
      for (const [name, value] of Object.entries({ ...headers, ...this.credentials, Accept: "application/json" })) request.setRequestHeader(name, value);
      request.upload.onprogress = ({ loaded }) => progress(loaded);
      request.onload = settle(() => resolve({ status: request.status, body: parsed(request.responseText) }));
      request.onerror = settle(() => reject(new UploadError("network", texts.uploadNetwork)));
      request.onabort = settle(() => reject(cancelled()));
      signal.addEventListener("abort", stop);
      request.send(body);
    });
  }
};
function cancelled() {
  return new UploadError("cancelled", texts.uploadCancelled);
}
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// src/uploads.js
var REMEMBERED = 200;
var RASTER = /* @__PURE__ */ new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"]);
var MEDIA = /^(audio|video)\/[a-z0-9][a-z0-9.+-]*$/;
var TEXT = /* @__PURE__ */ new Set(["text/plain", "text/csv", "text/markdown", "application/json"]);
var FileServer = class {
  #owner;
  #requests;
  #fetch;
  /**
   * @param {string} base where `chatsessions.urls` is included
   * @param {Owner} owner
   * @param {{XMLHttpRequest?: typeof XMLHttpRequest, fetch?: typeof fetch}} [options]
   */
  constructor(base, owner, options = {}) {
    this.#owner = owner;
    this.#requests = new Requests(base, owner, options.XMLHttpRequest ?? globalThis.XMLHttpRequest);
    this.#fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
  }
  /** The address of a file, or of all of them. @param {string} [id] */
  url(id) {
    return this.#requests.url(`files/${id ? `${encodeURIComponent(id)}/` : ""}`);
  }
  /**
   * Bring a file to the server, in one request, as soon as there is a session.
   * @param {File} file
   * @param {(share: number) => void} progress from 0 to 1
   * @returns {{done: Promise<FileInfo>, cancel: () => void}} `done` fails with `UploadError`
   */
  upload(file, progress) {
    const stop = new AbortController();
    const done = this.#online(stop.signal).then(() => this.#send(file, progress, stop.signal));
    return { done, cancel: () => stop.abort() };
  }
  /** A file's content. @param {string} id @returns {Promise<{blob: Blob, name: string | null}>} */
  async load(id) {
    const response = await this.#get(id, "GET");
    return { blob: await response.blob(), name: fileName(response.headers.get("Content-Disposition")) };
  }
  /** What this tab knows of a file; without a type it knows nothing. @param {FileInfo | string} file or its id @returns {FileInfo} */
  describe(file) {
    if (typeof file === "object" && file) return file;
    return this.#known()[file] ?? { id: file, name: texts.file, mime: "", size: 0 };
  }
  /** Ask the server about a file, as after a reload on another device. @param {string} id @returns {Promise<FileInfo>} */
  async inquire(id) {
    const { headers } = await this.#get(id, "HEAD");
    const name = fileName(headers.get("Content-Disposition")) ?? texts.file;
    const info = { id, name, mime: headers.get("Content-Type") ?? "application/octet-stream", size: Number(headers.get("Content-Length")) };
    this.#remember(info);
    return info;
  }
  /** @param {FileInfo} file */
  #remember(file) {
    const known = Object.entries({ ...this.#known(), [file.id]: file }).slice(-REMEMBERED);
    this.#owner.memory.keep("files", Object.fromEntries(known));
  }
  /** @returns {Record<string, FileInfo>} */
  #known() {
    return this.#owner.memory.recall("files") ?? {};
  }
  /** Wait until there is a session. @param {AbortSignal} signal */
  #online(signal) {
    const owner = this.#owner;
    return new Promise((resolve, reject) => {
      const check = () => {
        if (signal.aborted) reject(cancelled());
        else if (owner.state.state !== "online") return;
        else resolve();
        owner.removeEventListener("state", check);
        signal.removeEventListener("abort", check);
      };
      signal.addEventListener("abort", check);
      owner.addEventListener("state", check);
      check();
    });
  }
  /** @param {File} file @param {(share: number) => void} progress @param {AbortSignal} signal @returns {Promise<FileInfo>} */
  async #send(file, progress, signal) {
    const headers = { "Content-Type": typeOf(file), "X-File-Name": encoded(file.name) };
    const { status, body } = await this.#requests.send("POST", "files/", { body: file, headers, progress: (loaded) => progress(file.size ? loaded / file.size : 1), signal });
    if (status !== 201 && status !== 200) throw new UploadError(body?.error ?? "failed", uploadWords(status, body));
    const info = { id: String(body?.id), name: String(body?.name ?? file.name), mime: String(body?.mime ?? ""), size: Number(body?.size ?? file.size) };
    this.#remember(info);
    return info;
  }
  /** @param {string} id @param {"GET" | "HEAD"} method */
  async #get(id, method) {
    const response = await this.#requests.twice(() => this.#fetch(this.url(id), { method, headers: this.#requests.credentials }));
    if (!response.ok) throw new UploadError("failed", texts.downloadFailed);
    return response;
  }
};
function isMedia(mime) {
  return MEDIA.test(mime);
}
function isText(mime) {
  return TEXT.has(mime);
}
function isRaster(mime) {
  return RASTER.has(mime.split(";")[0].trim().toLowerCase());
}
function acceptance(accept) {
  const patterns = Array.isArray(accept) ? accept : Object.entries(accept ?? {}).flatMap(([mime, endings]) => Array.isArray(endings) && endings.length ? endings : [mime]);
  const given = patterns.map((pattern) => String(pattern).trim().toLowerCase()).filter(Boolean);
  const all = !given.length || given.includes("*/*") || given.includes("*");
  return {
    attribute: all ? "" : given.join(","),
    /** @param {{name: string, type: string}} file */
    matches: ({ name, type }) => all || given.some((pattern) => fits(pattern, name.toLowerCase(), type.toLowerCase()))
  };
}
function fits(pattern, name, type) {
  if (pattern.startsWith(".")) return name.endsWith(pattern);
  if (pattern.endsWith("/*")) return type.startsWith(pattern.slice(0, -1));
  return type === pattern;
}
function sizeWords(bytes) {
  if (!Number.isFinite(bytes) || bytes <= 0) return "";
  const step = bytes < 1e3 ? 0 : bytes < 999500 ? 1 : 2;
  const value = bytes / 1e3 ** step;
  return `${value.toLocaleString([], { maximumFractionDigits: value < 10 && step ? 1 : 0 })} ${["B", "kB", "MB"][step]}`;
}
function typeOf({ type }) {
  return !type || type.startsWith("multipart/") || type === "application/x-www-form-urlencoded" ? "application/octet-stream" : type;
}
function encoded(name) {
  return encodeURIComponent(new TextDecoder().decode(new TextEncoder().encode(name)));
}
function uploadWords(status, body) {
  const told = typeof body?.detail === "string" && body.detail ? body.detail : null;
  return texts.uploadErrors[body?.error] ?? told ?? texts.uploadErrors[String(status)] ?? texts.uploadFailed;
}
function fileName(header3) {
  const extended = /filename\*\s*=\s*utf-8''([^;]+)/i.exec(header3 ?? "");
  try {
    if (extended) return decodeURIComponent(extended[1].trim());
  } catch {
  }
  return /filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(header3 ?? "")?.[1].replace(/\\(.)/g, "$1") ?? null;
}

// src/attachments.js
var LONGEST2 = 40;
var Attachments = class {
  #server;
  #limits;
  #changed;
  #notify;
  #picker = create("input", { type: "file" });
  /** @type {Item[]} */
  #items = [];
  /**
   * @param {() => FileServer | null} server
   * @param {() => Limits} limits
   * @param {{changed: () => void, notify: (text: string) => void}} handlers
   */
  constructor(server, limits, { changed, notify }) {
    this.#server = server;
    this.#limits = limits;
    this.#changed = changed;
    this.#notify = notify;
    this.#picker.addEventListener("change", () => {
      this.add([...this.#picker.files ?? []]);
      this.#picker.value = "";
    });
    this.element = create("ul", { part: "attachments", "aria-label": texts.attachments, hidden: true });
  }
  /** Of the files that are on the server. */
  get ids() {
    return this.#items.flatMap(({ info }) => info ? [info.id] : []);
  }
  get empty() {
    return !this.#items.length;
  }
  /** Why they cannot be sent yet, if so. */
  get obstacle() {
    if (this.#items.some(({ error }) => error)) return texts.removeFailed;
    return this.#items.some(({ info }) => !info) ? texts.stillUploading : "";
  }
  /** Let a person choose some. */
  choose() {
    const { accept, maxFiles = 2 } = this.#limits();
    this.#picker.accept = acceptance(accept).attribute;
    this.#picker.multiple = maxFiles > 1;
    this.#picker.click();
  }
  /** What failed makes way for a new choice, and so does the one file where one is asked for. @param {File[]} files */
  add(files) {
    const { maxFiles } = this.#limits();
    const before = [...this.#items].sort((a, b) => Number(Boolean(b.error)) - Number(Boolean(a.error)));
    for (const file of files) {
      const objection = this.#objection(file);
      const full = Boolean(maxFiles && this.#items.length >= maxFiles);
      const old = full && !objection && (before[0]?.error || maxFiles === 1) ? before.shift() : void 0;
      if (old) this.#drop(old);
      if (objection) this.#notify(objection);
      else if (full && !old) this.#notify(texts.tooManyFiles(maxFiles ?? 0));
      else this.#begin(file);
    }
    this.#moved();
  }
  /** They were sent. */
  clear() {
    for (const item of this.#items) item.cancel();
    this.#items = [];
    this.element.replaceChildren();
    this.#moved();
  }
  /** Another session: it knows none of them. */
  restart() {
    for (const item of this.#items) this.#upload(item);
  }
  /** @param {File} file */
  #objection(file) {
    const { accept, maxMegabytes } = this.#limits();
    if (!acceptance(accept).matches(file)) return texts.wrongType(quoted(file.name));
    if (maxMegabytes && file.size > maxMegabytes * 1024 ** 2) return texts.fileTooLarge(quoted(file.name), maxMegabytes);
    return "";
  }
  /** @param {File} file */
  #begin(file) {
    const state = create("span", { part: "attachment-state", role: "status" });
    const again = button("attachment-again", texts.tryAgain, () => this.#again(item), { hidden: true });
    const remove = button("attachment-remove", "", () => this.#remove(item), { "aria-label": texts.removeFile(file.name), title: texts.remove });
    remove.append(icon("x"));
    const element = create("li", { part: "attachment" }, icon("file"), isolated(file.name, "file-name"), state, again, remove);
    const item = { file, element, state, again, info: null, error: "", cancel: () => {
    } };
    this.#items.push(item);
    this.element.append(element);
    this.#upload(item);
  }
  /** From the beginning. @param {Item} item */
  #again(item) {
    item.cancel = () => {
    };
    this.#upload(item);
  }
  /** @param {Item} item */
  #upload(item) {
    item.cancel();
    item.info = null;
    item.error = "";
    item.again.hidden = true;
    item.element.removeAttribute("data-failed");
    const server = this.#server();
    if (!server) return this.#failed(item, texts.uploadFailed);
    const bar = create("progress", { part: "progress", max: "1", value: "0", "aria-label": texts.uploading(item.file.name) });
    item.state.replaceChildren(bar);
    const { done, cancel } = server.upload(item.file, (share) => bar.value = share);
    item.cancel = cancel;
    const current = () => item.cancel === cancel;
    done.then((info) => current() && this.#done(item, info), (error) => current() && this.#failed(item, error));
    this.#moved();
  }
  /** @param {Item} item @param {FileInfo} info */
  #done(item, info) {
    item.info = info;
    item.state.textContent = sizeWords(info.size);
    this.#moved();
  }
  /** @param {Item} item @param {unknown} error */
  #failed(item, error) {
    item.error = error instanceof UploadError ? error.message : texts.uploadFailed;
    item.state.textContent = item.error;
    item.again.hidden = false;
    item.element.setAttribute("data-failed", "");
    this.#moved();
  }
  /** @param {Item} item @returns {number} where it was */
  #drop(item) {
    const index = this.#items.indexOf(item);
    item.cancel();
    this.#items.splice(index, 1);
    item.element.remove();
    return index;
  }
  /** @param {Item} item */
  #remove(item) {
    const index = this.#drop(item);
    this.#moved();
    const next = this.#items[index] ?? this.#items[index - 1];
    next?.element.querySelector("[part=attachment-remove]")?.focus();
  }
  #moved() {
    this.element.hidden = this.empty;
    this.#changed();
  }
};
function quoted(name) {
  const short = name.length > LONGEST2 ? `${name.slice(0, LONGEST2 - 12)}…${name.slice(-11)}` : name;
  return `⁨${short}⁩`;
}
function receiveFiles(element, field2, taker) {
  let depth = 0;
  const over = (event) => Boolean(event.dataTransfer?.types.includes("Files") && taker());
  const mark = (entered) => {
    depth = entered;
    element.toggleAttribute("data-dropping", depth > 0);
  };
  element.addEventListener("dragenter", (event) => over(event) && mark(depth + 1));
  element.addEventListener("dragleave", () => mark(Math.max(0, depth - 1)));
  element.addEventListener("dragover", (event) => over(event) && event.preventDefault());
  element.addEventListener("drop", (event) => {
    mark(0);
    if (!over(event)) return;
    event.preventDefault();
    taker()?.add([...event.dataTransfer?.files ?? []]);
  });
  field2.addEventListener("paste", (event) => {
    const { files, types } = event.clipboardData ?? {};
    if (!files?.length || types?.includes("text/plain") || !taker()) return;
    event.preventDefault();
    taker()?.add([...files]);
  });
}

// src/composer.js
var Composer = class {
  #parts;
  #handlers;
  #tray;
  #answering = false;
  #offered = false;
  #placeholder = "";
  /** @param {Pick<Parts, "composer" | "input" | "inputLabel" | "attach" | "chat">} parts @param {ComposerHandlers} handlers */
  constructor(parts, handlers) {
    this.#parts = parts;
    this.#handlers = handlers;
    const { notify, server, limits } = handlers;
    this.#tray = new Attachments(server, limits, { changed: () => {
    }, notify });
    parts.composer.prepend(this.#tray.element);
    this.#wire();
  }
  get text() {
    return this.#parts.input.value;
  }
  set text(text) {
    this.#parts.input.value = text;
    this.fit();
  }
  /** Whether what is written answers a question, which takes no files. @param {boolean} answering */
  set answering(answering) {
    this.#answering = answering;
    this.#parts.inputLabel.textContent = answering ? texts.answerLabel : texts.inputLabel;
    this.#label();
  }
  /** @param {string} text */
  set placeholder(text) {
    this.#placeholder = text;
    this.#label();
  }
  /** Whether messages may have files. @param {boolean} offered */
  set files(offered) {
    this.#offered = offered;
    this.#label();
  }
  /** Another session: files that are here are its own only once they are uploaded anew. */
  restart() {
    this.#tray.restart();
  }
  /** Somebody else is here: nothing that is written or attached is theirs. */
  clear() {
    this.#tray.clear();
    this.text = "";
  }
  /** As high as the text needs, within what the stylesheet allows. */
  fit() {
    const { input } = this.#parts;
    input.style.height = "auto";
    input.style.height = input.value ? `${input.scrollHeight + input.offsetHeight - input.clientHeight}px` : "";
  }
  #wire() {
    const { composer: composer2, input, attach, chat } = this.#parts;
    composer2.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => this.#edited());
    attach.addEventListener("click", () => this.#tray.choose());
    receiveFiles(chat, input, () => {
      const asked = this.#handlers.asked();
      return asked || attach.hidden || composer2.hidden ? asked : this.#tray;
    });
  }
  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") this.#handlers.escape();
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    this.#submit();
  }
  #submit() {
    const text = this.text;
    const tray = this.#answering ? null : this.#tray;
    if (text.trim() || tray && !tray.empty) {
      if (tray?.obstacle) this.#handlers.notify(tray.obstacle);
      else if (this.#handlers.send(text, tray?.ids ?? [])) {
        tray?.clear();
        this.text = "";
        this.#edited();
      }
    }
    this.#parts.input.focus();
  }
  #edited() {
    this.#handlers.edited(this.text);
    this.fit();
  }
  #label() {
    this.#parts.attach.hidden = !this.#offered || this.#answering;
    this.#tray.element.hidden = this.#tray.empty || this.#answering;
    this.#parts.input.placeholder = this.#answering ? texts.answerPlaceholder : this.#placeholder;
  }
};

// src/keys.js
var Keys = class {
  #place;
  #save;
  /** @type {ChatClient | null} */
  #client = null;
  /** @param {HTMLElement} place of the form while nothing goes without them @param {() => void} saved */
  constructor(place, saved) {
    this.#place = place;
    this.#save = saved;
    this.#body = create("div", { part: "dialog-body" });
    this.dialog = dialogOf("keys-dialog", texts.keys, texts.close, this.#body);
    this.tool = tool("tool keys-open", "key", texts.keys, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });
  }
  #body;
  /** @param {ChatClient | null} client */
  set client(client) {
    this.#client = client;
    this.#refresh();
  }
  /** The server wants these. @param {string[]} names */
  demand(names) {
    const all = [.../* @__PURE__ */ new Set([...Object.keys(this.#known()), ...names])];
    const form = this.#form(all, names);
    this.#place.replaceChildren(create("p", { part: "keys-text", role: "status" }, texts.keysNeeded), form);
    this.#place.hidden = false;
  }
  /** They are not wanted (any more). */
  release() {
    this.#place.hidden = true;
    this.#place.replaceChildren();
    this.#refresh();
  }
  /** Somebody else is here. */
  forget() {
    this.dialog.close();
    this.#body.replaceChildren();
    this.release();
  }
  #open() {
    this.#body.replaceChildren(this.#form(Object.keys(this.#known()), []));
    this.dialog.showModal();
  }
  #refresh() {
    this.tool.hidden = !Object.keys(this.#known()).length;
  }
  #known() {
    return this.#client?.memory.env ?? {};
  }
  /** @param {string[]} names @param {string[]} missing */
  #form(names, missing) {
    const known = this.#known();
    const inputs = names.map((name, index) => {
      const input = create("input", { type: "password", part: "field-control", id: `key-${index}`, name, required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
      input.value = missing.includes(name) ? "" : known[name] ?? "";
      return input;
    });
    const fields = inputs.map((input, index) => create("div", { part: "field" }, create("label", { part: "field-label", for: input.id }, names[index]), input));
    const form = create("form", { part: "keys-form" }, ...fields, create("p", { part: "field-hint" }, texts.keysHint), create("div", { part: "dialog-ways" }, create("button", { type: "submit", part: "primary" }, texts.keysSave)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#client?.setEnv({ ...known, ...Object.fromEntries(inputs.map(({ name, value }) => [name, value])) });
      this.dialog.close();
      this.#refresh();
      this.#save();
    });
    return form;
  }
};

// src/layout.js
var nothing = () => {
};
function layout() {
  const parts = { ...header(), ...conversation(), ...notice(), ...banner(), ...activity(), ...composer(), ...endDialog() };
  const announcer = create("p", { part: "announcer", role: "status" });
  const choice2 = create("div", { part: "choice", hidden: true });
  const keys = create("div", { part: "keys", hidden: true });
  const chat = create(
    "section",
    { part: "chat" },
    parts.header,
    parts.body,
    choice2,
    parts.notice,
    parts.banner,
    keys,
    parts.activity,
    parts.composer,
    parts.dialog,
    announcer
  );
  return { chat, announcer, choice: choice2, keys, ...parts };
}
function header() {
  const heading = create("h2", { part: "heading" });
  const profile = create("span", { part: "profile", hidden: true });
  const status = create("span", { part: "status", role: "status" }, texts.states.connecting);
  const tools = create("div", { part: "tools" });
  const end = tool("end", "exit", texts.end, nothing, { title: texts.endTitle });
  tools.append(end);
  return { header: create("header", { part: "header" }, heading, profile, status, tools), heading, profile, status, tools, end };
}
function conversation() {
  const earlier = create("div", { part: "earlier", hidden: true });
  const list = create("div", { part: "list" });
  const waiting = create("div", { part: "waiting-list", "aria-live": "off" });
  const empty = create("p", { part: "empty" }, texts.states.connecting);
  const messages = create("div", { part: "messages", role: "log", "aria-label": texts.log, "aria-live": "off", tabindex: "0" }, empty, earlier, list, waiting);
  const jump = button("jump", texts.jump, nothing, { hidden: true });
  return { body: create("div", { part: "body" }, messages, jump), messages, earlier, list, waiting, empty, jump };
}
function notice() {
  const noticeText = create("span", { part: "notice-text" });
  const dismiss = button("dismiss", "×", nothing, { "aria-label": texts.dismiss });
  return { notice: create("div", { part: "notice", role: "alert", hidden: true }, noticeText, dismiss), noticeText, dismiss };
}
function banner() {
  const bannerText = create("span", { part: "banner-text", role: "status" });
  const bannerTime = create("span", { part: "banner-time" });
  const bannerLink = create("a", { part: "banner-link", hidden: true }, texts.logIn);
  const bannerButton = button("banner-button", "", nothing);
  const ways = create("div", { part: "banner-ways" }, bannerLink, bannerButton);
  const banner2 = create("div", { part: "banner", hidden: true }, create("p", {}, bannerText, " ", bannerTime), ways);
  return { banner: banner2, bannerText, bannerTime, bannerLink, bannerButton };
}
function activity() {
  const dots = create("span", { part: "dots", "aria-hidden": "true" }, create("i"), create("i"), create("i"));
  const working = create("span", { part: "working", hidden: true }, dots, texts.working);
  const hint = create("span", { part: "hint", id: "hint" }, texts.hint);
  const stop = button("stop", texts.stop, nothing, { hidden: true });
  return { activity: create("div", { part: "activity" }, working, hint, stop), working, hint, stop };
}
function composer() {
  const inputLabel = create("label", { part: "label", for: "input" }, texts.inputLabel);
  const input = create("textarea", { part: "input", id: "input", rows: "1", enterkeyhint: "send", "aria-describedby": "hint", autocomplete: "off" });
  const attach = button("attach", "", nothing, { "aria-label": texts.attach, title: texts.attach, hidden: true });
  attach.append(icon("paperclip"));
  const send = create("button", { part: "send", type: "submit" }, texts.send);
  const row = create("div", { part: "composer-row" }, inputLabel, attach, input, send);
  return { composer: create("form", { part: "composer" }, row), inputLabel, input, attach };
}
function endDialog() {
  const endConfirm = create("button", { part: "end-confirm", value: "end" }, texts.endConfirm);
  const endCancel = create("button", { part: "end-cancel", value: "" }, texts.endCancel);
  const question = create("p", { id: "question" }, texts.endQuestion);
  const form = create("form", { method: "dialog" }, question, endCancel, endConfirm);
  return { dialog: create("dialog", { part: "dialog", "aria-labelledby": "question" }, form), endConfirm };
}

// src/profiles.js
function profilesIn(text) {
  if (!text?.trim()) return null;
  try {
    return profiles(JSON.parse(text));
  } catch {
    return [];
  }
}
async function fetchProfiles(base, chat) {
  const response = await fetch(`${base}profiles/?${new URLSearchParams({ chat })}`, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!response.ok) throw new Error(`${response.status}`);
  return profiles(await response.json());
}
function profiles(value) {
  const list = Array.isArray(value) ? value : value?.profiles;
  return Array.isArray(list) ? list.filter((profile) => typeof profile?.name === "string" && profile.name) : [];
}
function profileForm(profiles2, before, chosen) {
  const first = profiles2.find(({ name }) => name === before) ?? profiles2.find((profile) => profile.default) ?? profiles2[0];
  const choices2 = profiles2.map((profile, index) => choice(profile, `profile-${index}`, profile === first));
  const form = create(
    "form",
    { part: "profiles" },
    create("fieldset", { part: "profile-list" }, create("legend", { part: "profile-title" }, texts.profiles), ...choices2),
    create("button", { type: "submit", part: "primary" }, texts.start)
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = new FormData(form).get("profile");
    if (typeof name === "string") chosen(name);
  });
  return form;
}
function choice({ name, display_name: shown, markdown_description: description, icon: icon2 }, id, checked) {
  return create(
    "label",
    { part: "profile-choice" },
    create("input", { type: "radio", name: "profile", value: name, id, checked, "aria-describedby": description ? `${id}-text` : null }),
    create(
      "span",
      { part: "profile-words" },
      create("span", { part: "profile-name" }, namedIcon(icon2), create("bdi", {}, shown || name)),
      description ? create("span", { part: "profile-description", id: `${id}-text` }, description) : null
    )
  );
}
var ProfileChoice = class {
  #place;
  #request = 0;
  /** @param {HTMLElement} place */
  constructor(place) {
    this.#place = place;
  }
  /** Forget a question that is still open. */
  cancel() {
    this.#request += 1;
    this.#place.replaceChildren();
  }
  /**
   * Ask, unless there is nothing to choose.
   * @param {() => Promise<Profile[]>} load
   * @param {string | undefined} before the profile of the conversation before
   * @param {(name: string | undefined) => void} chosen
   */
  async ask(load, before, chosen) {
    const request = ++this.#request;
    this.#place.replaceChildren(create("p", { part: "empty" }, texts.loading));
    const content = await this.#content(load, before, chosen);
    if (request !== this.#request) return;
    if (typeof content === "object") this.#place.replaceChildren(content);
    else chosen(content);
  }
  /** @param {() => Promise<Profile[]>} load @param {string | undefined} before @param {(name: string | undefined) => void} chosen */
  async #content(load, before, chosen) {
    try {
      const profiles2 = await load();
      return profiles2.length > 1 ? profileForm(profiles2, before, chosen) : profiles2[0]?.name;
    } catch {
      const again = create("button", { type: "button", part: "primary" }, texts.tryAgain);
      again.addEventListener("click", () => void this.ask(load, before, chosen));
      return create("div", { part: "profiles" }, create("p", { role: "alert" }, texts.profilesFailed), again);
    }
  }
};

// src/scrolling.js
var NEAR = 48;
var Scrolling = class {
  #messages;
  #jump;
  #atEnd = true;
  /** Where the reader was last. */
  #top = 0;
  #resized = new ResizeObserver(() => this.keep());
  /** @param {HTMLElement} messages @param {HTMLElement} jump the button that leads to the end */
  constructor(messages, jump) {
    this.#messages = messages;
    this.#jump = jump;
    messages.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }
  /** @param {HTMLElement[]} contents whose size matters */
  observe(...contents) {
    for (const element of [this.#messages, ...contents]) this.#resized.observe(element);
    this.keep();
  }
  disconnect() {
    this.#resized.disconnect();
  }
  keep() {
    if (this.#atEnd) this.toEnd();
    else this.#scrolled();
  }
  toEnd() {
    this.#atEnd = true;
    this.#jump.hidden = true;
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }
  /** Begin at the end. */
  reset() {
    this.#atEnd = true;
  }
  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#messages;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#atEnd = true;
    else if (scrollTop < this.#top) this.#atEnd = false;
    this.#top = scrollTop;
    this.#jump.hidden = this.#atEnd;
  }
};

// src/fields.js
var CONTROLS2 = { select, radio, multiselect, slider, numberinput, switch: toggle, checkbox, textinput, tags, datepicker };
function field(input, id) {
  if (!Object.hasOwn(CONTROLS2, input?.type)) return null;
  const { control, group, shown = control, beside, read, write, problem = () => "" } = CONTROLS2[input.type](input, id);
  const hint = [input.description, input.tooltip].filter(Boolean).join(" ");
  const disabled = Boolean(input.disabled);
  const error = create("p", { part: "field-error", id: `${id}-error`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  const words2 = String(input.label || input.id);
  const label = group ? create("span", { part: "field-label", id: `${id}-label` }, words2) : create("label", { part: "field-label", for: id }, words2);
  if (group) {
    control.setAttribute("role", group);
    control.setAttribute("aria-labelledby", `${id}-label`);
  }
  const element = create(
    disabled ? "fieldset" : "div",
    { part: `field field-${input.type}`, role: disabled ? "presentation" : null, disabled },
    create("div", { part: "field-line" }, label, beside),
    shown,
    hint ? create("p", { part: "field-hint", id: `${id}-hint` }, hint) : null,
    error
  );
  const complain = (text) => {
    error.textContent = text;
    error.hidden = !text;
    control.setAttribute("aria-invalid", String(Boolean(text)));
  };
  const focus = () => {
    const inside = group ? control.querySelector("input:checked") ?? control.querySelector("input") : null;
    (inside instanceof HTMLElement ? inside : control).focus();
  };
  return { id: input.id, element, disabled, focus, read, write, problem, complain };
}
function optionsOf({ values, items }) {
  return items && Object.keys(items).length ? Object.entries(items) : (values ?? []).map((value) => [String(value), value]);
}
function choices(type, input, id) {
  const options = optionsOf(input);
  const boxes = options.map(() => create("input", { type, part: "field-box", name: `${id}-choice` }));
  const labels = options.map(([label], index) => create("label", { part: "field-choice" }, boxes[index], create("span", {}, label)));
  return { options, boxes, control: create("div", { part: "field-choices" }, ...labels) };
}
function radio(input, id) {
  const { options, boxes, control } = choices("radio", input, id);
  return {
    control,
    group: "radiogroup",
    read: () => options.find((_, index) => boxes[index].checked)?.[1] ?? null,
    write: (value) => boxes.forEach((box, index) => box.checked = options[index][1] === value)
  };
}
function multiselect(input, id) {
  const { options, boxes, control } = choices("checkbox", input, id);
  return {
    control,
    group: "group",
    read: () => options.filter((_, index) => boxes[index].checked).map(([, value]) => value),
    write: (value) => boxes.forEach((box, index) => box.checked = Array.isArray(value) && value.includes(options[index][1]))
  };
}
function select(input) {
  const options = optionsOf(input);
  const control = create("select", { part: "field-control" }, ...options.map(([label], index) => create("option", { value: String(index) }, label)));
  return {
    control,
    read: () => options[control.selectedIndex]?.[1] ?? null,
    write: (value) => control.selectedIndex = options.findIndex(([, other]) => other === value)
  };
}
function slider({ min = 0, max = 10, step = 1 }, id) {
  const control = create("input", { type: "range", part: "field-range", min: String(min), max: String(max), step: String(step) });
  const output = create("output", { part: "field-output", for: id, "aria-live": "off" });
  const show = () => output.textContent = control.value;
  control.addEventListener("input", show);
  return {
    control,
    beside: output,
    read: () => control.valueAsNumber,
    write: (value) => {
      control.value = String(value ?? min);
      show();
    }
  };
}
function numberinput({ placeholder }) {
  const control = create("input", { type: "number", step: "any", part: "field-control", placeholder: placeholder ?? null, autocomplete: "off" });
  return {
    control,
    read: () => Number.isNaN(control.valueAsNumber) ? null : control.valueAsNumber,
    write: (value) => control.value = String(value ?? ""),
    problem: () => control.validity.badInput ? texts.notANumber : ""
  };
}
function checkbox() {
  const control = create("input", { type: "checkbox", part: "field-box" });
  return { control, read: () => control.checked, write: (value) => control.checked = Boolean(value) };
}
function datepicker({ mode, min_date: min, max_date: max }, id) {
  const day = (attributes = {}) => create("input", { type: "date", part: "field-control", min: min ?? null, max: max ?? null, ...attributes });
  if (mode !== "range") {
    const control = day();
    return {
      control,
      read: () => control.value || null,
      write: (value) => control.value = String(value ?? ""),
      problem: () => control.validity.badInput ? texts.notADate : ""
    };
  }
  const days = [day({ id: `${id}-from` }), day({ id: `${id}-to` })];
  const labels = [texts.firstDay, texts.lastDay].map((label, index) => create("label", { part: "field-choice" }, create("span", {}, label), days[index]));
  return {
    control: create("div", { part: "field-days" }, ...labels),
    group: "group",
    read: () => days.some(({ value }) => value) ? days.map(({ value }) => value || null) : null,
    write: (value) => days.forEach((one, index) => one.value = String(value?.[index] ?? "")),
    problem: () => {
      if (days.some(({ validity }) => validity.badInput)) return texts.notADate;
      return Boolean(days[0].value) === Boolean(days[1].value) ? "" : texts.bothDays;
    }
  };
}
function toggle() {
  const control = create("input", { type: "checkbox", role: "switch", part: "field-switch" });
  return { control, read: () => control.checked, write: (value) => control.checked = Boolean(value) };
}
function textinput({ placeholder, multiline }) {
  const attributes = { part: "field-control", placeholder: placeholder ?? null, autocomplete: "off" };
  const control = multiline ? create("textarea", { ...attributes, rows: "4" }) : create("input", { ...attributes, type: "text" });
  return { control, read: () => control.value, write: (value) => control.value = String(value ?? "") };
}
function tags({ placeholder, label, id, values = [] }, name) {
  let chosen = [];
  const control = create("input", { type: "text", part: "field-control", placeholder: placeholder || texts.tagPlaceholder, autocomplete: "off", enterkeyhint: "enter", list: values.length ? `${name}-values` : null });
  const offered = create("datalist", { id: `${name}-values` }, ...values.map((value) => create("option", { value })));
  const list = create("ul", { part: "tags", "aria-label": label || id });
  const show = () => {
    list.hidden = !chosen.length;
    list.replaceChildren(...chosen.map((tag, index) => {
      const remove = button("tag-remove", "", () => {
        chosen = chosen.filter((_, other) => other !== index);
        show();
        control.focus();
      }, { "aria-label": texts.removeTag(tag) });
      remove.append(icon("x"));
      return create("li", { part: "tag" }, create("bdi", {}, tag), remove);
    }));
  };
  const add = () => {
    for (const tag of control.value.split(",").map((text) => text.trim())) if (tag && !chosen.includes(tag)) chosen.push(tag);
    control.value = "";
    show();
  };
  control.addEventListener("keydown", (event) => {
    if (event.isComposing || event.key !== "Enter" && event.key !== ",") return;
    if (event.key === "Enter" && !control.value.trim()) return;
    event.preventDefault();
    add();
  });
  return {
    control,
    shown: create("div", { part: "tags-box" }, list, control, offered),
    read: () => {
      add();
      return [...chosen];
    },
    write: (value) => {
      chosen = Array.isArray(value) ? value.map(String) : [];
      control.value = "";
      show();
    }
  };
}

// src/tabs.js
var Tabs = class {
  /** @type {HTMLButtonElement[]} */
  #tabs = [];
  /** @type {HTMLElement[]} */
  #panels = [];
  #list = create("div", { part: "tabs", role: "tablist" });
  element = create("div", { part: "tabs-box", hidden: true }, this.#list);
  constructor() {
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
  }
  /** @param {Group[]} groups */
  offer(groups) {
    this.#tabs = groups.map(({ label }, index) => {
      const tab = create("button", { type: "button", part: "tab", role: "tab", id: `tab-${index}`, "aria-controls": `tab-panel-${index}` }, label);
      tab.addEventListener("click", () => this.#choose(index));
      return tab;
    });
    this.#panels = groups.map(({ fields }, index) => create("div", { part: "fields", role: "tabpanel", id: `tab-panel-${index}`, "aria-labelledby": `tab-${index}` }, ...fields));
    this.#list.replaceChildren(...this.#tabs);
    this.element.replaceChildren(this.#list, ...this.#panels);
    this.element.hidden = !groups.length;
    this.#choose(0);
  }
  /** Show the group that has `field`. @param {HTMLElement} field */
  reveal(field2) {
    const index = this.#panels.findIndex((panel) => panel.contains(field2));
    if (index >= 0) this.#choose(index);
  }
  /** @param {number} chosen */
  #choose(chosen) {
    this.#tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
      this.#panels[index].hidden = index !== chosen;
    });
  }
  /** By arrow keys, as in any row of tabs. @param {KeyboardEvent} event */
  #walk(event) {
    const { length } = this.#tabs;
    const at = this.#tabs.findIndex((tab) => tab === event.target);
    const ahead = getComputedStyle(this.#list).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = ahead === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const goals = { [ahead]: (at + 1) % length, [back]: (at + length - 1) % length, Home: 0, End: length - 1 };
    const goal = goals[event.key];
    if (at < 0 || goal === void 0) return;
    event.preventDefault();
    this.#choose(goal);
    this.#tabs[goal].focus();
  }
};

// src/settings.js
var Settings = class {
  /** @type {Field[]} */
  #fields = [];
  /** @type {InputData[]} */
  #inputs = [];
  /** @type {Record<string, any>} */
  #values = {};
  #send;
  #form;
  #list = create("div", { part: "fields" });
  #tabs = new Tabs();
  #error = create("p", { part: "form-error", role: "alert", hidden: true });
  #save = create("button", { type: "submit", part: "primary" }, texts.save);
  /** Whether what was typed is on its way. */
  #saving = false;
  /** @param {(values: Record<string, any>) => boolean} send whether it could be sent */
  constructor(send) {
    this.#send = send;
    const defaults2 = button("secondary", texts.defaults, () => this.#write(this.#initial(), this.#fields.filter(({ disabled }) => !disabled)));
    this.#form = create("form", { part: "dialog-body", novalidate: true }, this.#list, this.#tabs.element, this.#error, create("div", { part: "dialog-ways" }, this.#save, defaults2));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.dialog = dialogOf("settings", texts.settings, texts.close, this.#form);
    this.dialog.addEventListener("close", () => this.#saving = false);
    this.tool = tool("tool settings-open", "sliders", texts.settings, () => this.open(), { "aria-haspopup": "dialog", hidden: true });
  }
  /** Another log follows. */
  clear() {
    this.#values = {};
    this.#offer([]);
    this.dialog.close();
  }
  /** An entry of the log, if it is about settings. @param {string} name @param {any} data @returns {boolean} */
  show(name, data) {
    if (name === "settings_form") this.#offer(Array.isArray(data?.inputs) ? data.inputs : []);
    else if (name === "settings") this.#change(data);
    else return false;
    return true;
  }
  /** @param {Record<string, any>} [values] */
  open(values = { ...this.#initial(), ...this.#values }) {
    if (this.dialog.open) return;
    this.#complain("");
    this.#write(values);
    this.#busy(false);
    this.dialog.showModal();
    this.#fields.find(({ disabled }) => !disabled)?.focus();
  }
  /** What is not accepted yet. @param {Outgoing[]} frames */
  update(frames) {
    if (!this.#saving || frames.some(({ name }) => name === "settings")) return;
    this.#busy(false);
    this.dialog.close();
  }
  /** The server would not take them. @param {any} values @param {string} detail which names the field */
  refused(values, detail) {
    this.#saving = false;
    if (!this.dialog.open) this.open({ ...this.#initial(), ...this.#values, ...values });
    this.#busy(false);
    this.#complain(detail);
  }
  /** @param {(InputData | Group)[]} offered */
  #offer(offered) {
    const groups = offered.filter(isGroup);
    const alone = this.#made(offered.filter((input) => !isGroup(input)), "setting");
    const grouped = groups.map(({ inputs }, index) => this.#made(inputs, `setting-${index}`));
    this.#inputs = [...offered.filter((input) => !isGroup(input)), ...groups.flatMap(({ inputs }) => inputs)];
    this.#fields = [...alone, ...grouped.flat()];
    this.#list.replaceChildren(...alone.map(({ element }) => element));
    this.#list.hidden = !alone.length;
    this.#tabs.offer(groups.map(({ id, label }, index) => ({ label: String(label || id), fields: grouped[index].map(({ element }) => element) })));
    this.tool.hidden = !this.#fields.length;
    if (this.tool.hidden) this.dialog.close();
    else if (this.dialog.open) this.#write({ ...this.#initial(), ...this.#values });
  }
  /** @param {InputData[]} inputs @param {string} id */
  #made(inputs, id) {
    return inputs.map((input, index) => field(input, `${id}-${index}`)).filter((found) => found !== null);
  }
  /** @param {any} values that hold from now on */
  #change(values) {
    this.#values = { ...this.#values, ...values };
    if (this.dialog.open && !this.#saving) this.#write({ ...this.#initial(), ...this.#values });
  }
  #initial() {
    return Object.fromEntries(this.#inputs.map(({ id, initial }) => [id, initial]));
  }
  /** @param {Record<string, any>} values */
  #write(values, fields = this.#fields) {
    for (const { id, write } of fields) write(values[id]);
  }
  #submit() {
    this.#complain("");
    const wrong = this.#fields.find(({ disabled, problem }) => !disabled && problem());
    if (wrong) return this.#blame(wrong, wrong.problem());
    const values = Object.fromEntries(this.#fields.filter(({ disabled }) => !disabled).map(({ id, read }) => [id, read()]));
    this.#busy(true);
    if (!this.#send(values)) this.#busy(false);
  }
  /** @param {boolean} saving */
  #busy(saving) {
    this.#saving = saving;
    this.#save.setAttribute("aria-disabled", String(saving));
    this.#save.textContent = saving ? texts.saving : texts.save;
  }
  /** @param {string} detail */
  #complain(detail) {
    for (const { complain } of this.#fields) complain("");
    const blamed = detail ? named(this.#fields, detail) : void 0;
    if (blamed) this.#blame(blamed, detail);
    this.#error.textContent = blamed ? "" : detail;
    this.#error.hidden = !detail || Boolean(blamed);
  }
  /** @param {Field} field @param {string} detail */
  #blame(field2, detail) {
    field2.complain(detail);
    this.#tabs.reveal(field2.element);
    field2.focus();
  }
};
function isGroup(input) {
  return input?.type === "tab" && Array.isArray(input.inputs);
}
function named(fields, text) {
  const words2 = new Set(text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/^[.-]+|[.-]+$/g, "")));
  return fields.find(({ id }) => words2.has(id)) ?? [...fields].sort((a, b) => b.id.length - a.id.length).find(({ id }) => text.includes(id));
}

// src/starters.js
var Starters = class {
  #send;
  #offered = 0;
  element = create("div", { part: "starters", role: "group", "aria-label": texts.starters, hidden: true });
  /** @param {(message: string) => void} send */
  constructor(send) {
    this.#send = send;
  }
  /** Whether there are some. */
  get any() {
    return this.#offered > 0;
  }
  /** An entry of the log, or nothing. @param {any} [data] */
  offer(data) {
    const starters = Array.isArray(data?.starters) ? data.starters.filter(isStarter) : [];
    this.#offered = starters.length;
    this.element.replaceChildren(...starters.map((starter) => this.#button(starter)));
  }
  /** @param {Starter} starter */
  #button({ label, message, icon: icon2 }) {
    const element = create("button", { type: "button", part: "starter" }, namedIcon(icon2), create("span", {}, label));
    element.addEventListener("click", () => this.#send(message));
    return element;
  }
};
function isStarter(value) {
  return typeof value?.label === "string" && typeof value?.message === "string";
}

// src/message.js
function article({ author, text, time, kind = "other", files = null }, ...below) {
  const content = create("div", { part: "content" }, text);
  content.hidden = !text && files !== null;
  return create("article", { part: `message ${kind}` }, header2(author, time), content, files, ...below);
}
function ownArticle(text, { waiting, time, files = null } = {}) {
  const element = article({ author: texts.you, text, time, files, kind: waiting ? "own waiting" : "own" });
  if (waiting) element.querySelector("header")?.append(create("span", { part: "remark" }, waiting));
  return element;
}
function failure(data) {
  return create("article", { part: "message error", "data-code": data?.code }, create("div", { part: "content" }, data?.detail || texts.failed));
}
function header2(author, time) {
  return create("header", { part: "message-header" }, isolated(author, "author"), time ? timestamp(time) : null);
}
function timestamp(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  const today = time.toDateString() === (/* @__PURE__ */ new Date()).toDateString();
  const year = time.getFullYear() === (/* @__PURE__ */ new Date()).getFullYear();
  const day = today ? {} : { day: "numeric", month: "short", ...year ? {} : { year: "numeric" } };
  const words2 = time.toLocaleString([], { ...day, hour: "numeric", minute: "2-digit" });
  return create("time", { part: "time", datetime: text, title: time.toLocaleString() }, words2);
}

// src/threads.js
var TYPING = 300;
async function get(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}
var Threads = class {
  #base;
  #chat;
  #choose;
  #search = create("input", { type: "search", part: "field-control", id: "thread-search", autocomplete: "off" });
  #list = create("ul", { part: "threads-list" });
  #status = create("p", { part: "threads-status", role: "status" });
  #earlier = button("secondary", texts.previousPage, () => this.#load(this.#page - 1));
  #later = button("secondary", texts.nextPage, () => this.#load(this.#page + 1));
  #paging = create("div", { part: "dialog-ways", hidden: true }, this.#earlier, this.#later);
  #page = 1;
  #request = 0;
  /** @type {number | undefined} */
  #typing;
  /**
   * @param {() => string | null} base where `chatsessions.urls` is included
   * @param {() => string | null} chat only the conversations of this one
   * @param {(thread: string) => void} choose
   */
  constructor(base, chat, choose) {
    this.#base = base;
    this.#chat = chat;
    this.#choose = choose;
    const search = create("div", { part: "field" }, create("label", { part: "field-label", for: "thread-search" }, texts.searchThreads), this.#search);
    this.dialog = dialogOf("threads", texts.threads, texts.close, create("div", { part: "dialog-body" }, search, this.#status, this.#list, this.#paging));
    this.tool = tool("tool threads-open", "clock", texts.threads, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });
    this.#search.addEventListener("input", () => {
      window.clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => this.#load(1), TYPING);
    });
  }
  #open() {
    this.#search.value = "";
    this.dialog.showModal();
    this.#search.focus();
    void this.#load(1);
  }
  /** @param {number} page */
  async #load(page) {
    window.clearTimeout(this.#typing);
    const request = ++this.#request;
    const query = new URLSearchParams({ q: this.#search.value.trim(), page: String(page) });
    const chat = this.#chat();
    if (chat) query.set("chat", chat);
    this.#status.textContent = texts.loading;
    try {
      const found = await get(`${this.#base()}threads/?${query}`);
      if (request === this.#request) this.#show(found);
    } catch {
      if (request === this.#request) this.#status.textContent = texts.threadsFailed;
    }
  }
  /** @param {{threads: Thread[], page: number, pages: number, count: number}} found */
  #show({ threads, page, pages, count }) {
    this.#page = page;
    this.#list.replaceChildren(...threads.map((thread) => this.#item(thread)));
    this.#status.textContent = count ? texts.threadsFound(count, page, pages) : this.#search.value.trim() ? texts.noThreadFound : texts.noThreads;
    const focused = this.#paging.contains(
      /** @type {ShadowRoot} */
      this.dialog.getRootNode().activeElement
    );
    this.#paging.hidden = pages <= 1;
    this.#earlier.disabled = page <= 1;
    this.#later.disabled = page >= pages;
    if (focused) (this.#later.disabled ? this.#earlier : this.#later).focus();
  }
  /** @param {Thread} thread */
  #item({ id, title, last_seen: seen, started }) {
    const choose = create("button", { type: "button", part: "thread" }, isolated(title || texts.untitled, "thread-title"), timestamp(seen ?? started ?? ""));
    choose.addEventListener("click", () => {
      this.dialog.close();
      this.#choose(id);
    });
    return create("li", {}, choose);
  }
};
var Earlier = class {
  #place;
  #author;
  #list = create("div", { part: "earlier-list" });
  #more = button("more", texts.earlierStill, () => void this.#load());
  /** What is shown, by its thread and session. */
  #shown = "";
  #url = "";
  /** Where the messages that are not here yet end. @type {string | null} */
  #before = null;
  /** @param {HTMLElement} place @param {() => string} author who speaks where a message does not say */
  constructor(place, author) {
    this.#place = place;
    this.#author = author;
    place.append(this.#more, this.#list, create("p", { part: "earlier-note" }, texts.earlier));
  }
  get empty() {
    return this.#place.hidden;
  }
  clear() {
    this.#shown = "";
    this.#place.hidden = true;
    this.#list.replaceChildren();
  }
  /**
   * @param {string} base where `chatsessions.urls` is included
   * @param {string} thread
   * @param {string} session the one that goes on with it: what it has itself is shown below
   */
  async show(base, thread, session) {
    if (this.#shown === `${thread} ${session}`) return;
    this.clear();
    this.#shown = `${thread} ${session}`;
    this.#url = `${base}threads/${encodeURIComponent(thread)}/`;
    this.#before = `${session}:1`;
    await this.#load();
  }
  async #load() {
    const shown = this.#shown;
    try {
      const { messages, before } = await get(`${this.#url}?${new URLSearchParams({ before: this.#before ?? "" })}`);
      if (shown !== this.#shown) return;
      this.#before = before ?? null;
      this.#list.prepend(...messages.map((message) => this.#message(message)));
    } catch {
      if (shown === this.#shown) this.#list.prepend(create("p", { part: "note" }, texts.earlierFailed));
    }
    if (shown !== this.#shown) return;
    this.#more.hidden = this.#before === null;
    this.#place.hidden = !this.#list.childElementCount;
  }
  /** @param {{type?: string, author?: string, content: string, created_at?: string}} message */
  #message({ type, author, content, created_at: time }) {
    if (type === "user_message") return ownArticle(String(content ?? ""), { time });
    return article({ author: author || this.#author() || texts.assistant, text: String(content ?? ""), time });
  }
};

// src/actions.js
function actionButton({ id, name, label, tooltip, icon: icon2 }, pressed) {
  const element = create("button", { type: "button", part: "action", "data-action": id, title: tooltip || null }, namedIcon(icon2), label || (icon2 ? null : name));
  if (!label && icon2) element.setAttribute("aria-label", tooltip || name);
  element.addEventListener("click", () => element.getAttribute("aria-disabled") !== "true" && pressed());
  return element;
}
var Actions = class {
  /** @type {Map<string, HTMLButtonElement[]>} by the message */
  #buttons = /* @__PURE__ */ new Map();
  /** @type {Set<string>} ids of those pressed and not yet accepted */
  #pressed = /* @__PURE__ */ new Set();
  #enabled = false;
  #press;
  /** @param {(data: {id: string, name: string, payload: any}) => void} press */
  constructor(press) {
    this.#press = press;
  }
  /**
   * The buttons of a message, in place of those it had.
   * @param {string} message
   * @param {Action[]} [actions]
   */
  row(message, actions) {
    this.forget(message);
    if (!Array.isArray(actions) || !actions.length) return null;
    const buttons = actions.map((action) => {
      const { id, name, payload } = action;
      return actionButton(action, () => this.#press({ id, name, payload: payload ?? {} }));
    });
    this.#buttons.set(message, buttons);
    for (const button2 of buttons) this.#refresh(button2);
    return create("div", { part: "actions" }, ...buttons);
  }
  /** @param {string} message */
  forget(message) {
    this.#buttons.delete(message);
  }
  clear() {
    this.#buttons.clear();
  }
  /** @param {boolean} enabled whether the line is up @param {Set<string>} pressed ids */
  update(enabled, pressed) {
    const same = enabled === this.#enabled && pressed.size === this.#pressed.size && [...pressed].every((id) => this.#pressed.has(id));
    if (same) return;
    this.#enabled = enabled;
    this.#pressed = pressed;
    for (const buttons of this.#buttons.values()) buttons.forEach((button2) => this.#refresh(button2));
  }
  /** @param {HTMLButtonElement} button */
  #refresh(button2) {
    const usable = this.#enabled && !this.#pressed.has(button2.dataset.action ?? "");
    button2.setAttribute("aria-disabled", String(!usable));
  }
};

// src/asks.js
var WARNING = 30;
var KINDS2 = /* @__PURE__ */ new Set(["text", "action", "files"]);
var OUTCOMES = /* @__PURE__ */ new Set(["timeout", "cancelled"]);
var Asks = class {
  /** @type {Map<string, Question>} all of this log, by their call */
  #questions = /* @__PURE__ */ new Map();
  #handlers;
  /** @type {number | undefined} */
  #clock;
  /** @param {AskHandlers} handlers */
  constructor(handlers) {
    this.#handlers = handlers;
  }
  /** The question that the composer answers. @returns {AskData | undefined} */
  get openText() {
    return this.#waiting("text")?.ask;
  }
  /** Whether a question waits for one of its buttons. */
  get openChoice() {
    return this.#waiting("action") !== void 0;
  }
  /** Where files that are dropped belong, if a question asks for some. */
  get openFiles() {
    return this.#waiting("files")?.attachments ?? null;
  }
  /** Open questions that have no field here: they are the application's. Each is given out once. */
  takeOthers() {
    const others = [...this.#questions.values()].filter(({ ask, open: open2, taken }) => open2 && !taken && !KINDS2.has(ask.kind));
    for (const question of others) question.taken = true;
    return others.map(({ ask }) => ask);
  }
  /** Whether the bot waits for us. */
  get open() {
    return [...this.#questions.values()].some(({ open: open2, answered }) => open2 && !answered);
  }
  clear() {
    for (const { attachments } of this.#questions.values()) attachments?.clear();
    this.#questions.clear();
    this.#watch();
  }
  /** @param {AskData} ask @param {string} author @param {boolean} live @returns {HTMLElement} */
  show(ask, author, live) {
    const known = this.#questions.get(ask.call);
    if (known) this.#close(known);
    const input = create("div", { part: "answer" });
    const time = create("p", { part: "deadline", role: "timer", "aria-live": "off", hidden: true });
    const element = article({ author, text: String(ask.content ?? ""), kind: "other question" }, input, time);
    const question = { ask, element, input, time, until: deadline(ask, live), open: true, answered: false, warned: !live, taken: false, attachments: null };
    this.#questions.set(ask.call, question);
    this.#build(question);
    this.#watch();
    this.#handlers.changed();
    return element;
  }
  /** @param {string} call @param {string} [outcome] */
  close(call, outcome = "answered") {
    const question = this.#questions.get(call);
    if (!question) return;
    this.#close(question);
    if (OUTCOMES.has(outcome)) question.element.append(create("p", { part: "outcome" }, texts.outcomes[outcome]));
    this.#watch();
    this.#handlers.changed();
  }
  /** These questions have an answer that the server does not have yet. @param {Set<string>} calls */
  update(calls) {
    let changed = false;
    for (const [call, question] of this.#questions) {
      if (!question.open || question.answered === calls.has(call)) continue;
      question.answered = !question.answered;
      question.input.hidden = question.answered;
      changed = true;
    }
    if (changed) this.#handlers.changed();
  }
  /** An answer in the words of who gave it. @param {any} data as it was sent @returns {{text: string, files?: string[]} | null} */
  words(data) {
    const { call, data: answer } = data ?? {};
    const question = this.#questions.get(call)?.ask;
    if (typeof answer?.content === "string") return { text: answer.content };
    if (Array.isArray(answer?.files)) return { text: "", files: answer.files.map(String) };
    const action = question?.actions?.find(({ id }) => id === answer?.id);
    return action ? { text: action.label || action.name } : null;
  }
  /** @param {string} kind */
  #waiting(kind) {
    return [...this.#questions.values()].filter(({ ask, open: open2, answered }) => open2 && !answered && ask.kind === kind).at(-1);
  }
  /** @param {Question} question */
  #close(question) {
    question.open = false;
    question.input.remove();
    question.time.remove();
    question.attachments?.clear();
    question.attachments = null;
  }
  /** @param {Question} question */
  #build(question) {
    const { ask, input } = question;
    if (ask.kind === "action") input.append(create("div", { part: "actions", role: "group", "aria-label": texts.choices }, ...this.#choices(ask)));
    else if (ask.kind === "files") this.#fileField(question);
  }
  /** @param {AskData} ask */
  #choices({ call, actions = [] }) {
    return actions.map((action) => actionButton(action, () => this.#handlers.answer(call, { id: action.id })));
  }
  /** @param {Question} question */
  #fileField(question) {
    const { ask, input } = question;
    const { notify, server } = this.#handlers;
    if (!server()) return input.append(create("p", { part: "outcome" }, texts.noFiles));
    const limits = { accept: ask.accept, maxFiles: ask.max_files ?? 1, maxMegabytes: ask.max_size_mb };
    const attachments = new Attachments(server, () => limits, { changed: () => refresh(), notify });
    const several = limits.maxFiles > 1;
    const choose = button("choose", several ? texts.chooseFiles : texts.chooseFile, () => attachments.choose());
    const send = button("send-files", texts.sendFiles, () => {
      if (attachments.obstacle || attachments.empty) return notify(attachments.obstacle || texts.noFileYet);
      this.#handlers.answer(ask.call, { files: attachments.ids });
    });
    const hint = create("span", { part: "file-hint" }, texts.fileLimits(ask.max_files, ask.max_size_mb));
    const refresh = () => {
      send.hidden = attachments.empty;
      send.setAttribute("aria-disabled", String(Boolean(attachments.obstacle)));
    };
    input.append(attachments.element, create("div", { part: "actions" }, choose, send), hint);
    question.attachments = attachments;
    refresh();
  }
  // --- time -----------------------------------------------------------------------------------------
  #watch() {
    window.clearInterval(this.#clock);
    const running = [...this.#questions.values()].filter(({ open: open2, until }) => open2 && until !== null);
    if (!running.length) return;
    const tick = () => running.forEach((question) => this.#tick(question));
    tick();
    this.#clock = window.setInterval(tick, 1e3);
  }
  /** @param {Question} question */
  #tick(question) {
    const left = Math.max(0, Math.ceil(((question.until ?? 0) - Date.now()) / 1e3));
    const words2 = left ? texts.timeLeft(left) : texts.timeUp;
    question.time.hidden = false;
    if (question.time.textContent !== words2) question.time.textContent = words2;
    question.time.toggleAttribute("data-soon", left <= WARNING);
    if (left > WARNING || question.warned || question.answered) return;
    question.warned = true;
    if (left) this.#handlers.announce(texts.timeLeft(left));
  }
};
function deadline({ deadline: deadline2, timeout }, live) {
  const latest = typeof timeout === "number" ? Date.now() + timeout * 1e3 : Infinity;
  const said = Date.parse(deadline2 ?? "");
  const until = live && Number.isFinite(latest) ? latest : Math.min(Number.isNaN(said) ? Infinity : said, latest);
  return Number.isFinite(until) ? until : null;
}

// src/files.js
var THUMBNAIL = 8 * 1024 ** 2;
var EXCERPT = 32 * 1024;
var PDF = "application/pdf";
var SAVED2 = 6e4;
var Files = class {
  #server;
  #notify;
  /** @type {Set<string>} addresses of files that are shown */
  #urls = /* @__PURE__ */ new Set();
  /** @type {WeakMap<Element, FileInfo>} files that nobody has seen yet */
  #unseen = /* @__PURE__ */ new WeakMap();
  #seen = new IntersectionObserver((entries) => this.#see(entries), { rootMargin: "200px" });
  /** @param {() => FileServer | null} server @param {(text: string) => void} notify */
  constructor(server, notify) {
    this.#server = server;
    this.#notify = notify;
  }
  /** The files of a message. @param {(FileInfo | string)[] | undefined} files or their ids */
  list(files) {
    const server = this.#server();
    if (!Array.isArray(files) || !files.length) return null;
    const known = files.map((file) => server?.describe(file) ?? unnamed(file));
    return create("ul", { part: "files", "aria-label": texts.files }, ...known.map((file) => create("li", {}, this.#link(file))));
  }
  /** Forget what was shown. */
  clear() {
    this.#seen.disconnect();
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls.clear();
  }
  /** @param {FileInfo} file */
  #link(file) {
    const server = this.#server();
    const link = create("a", { part: "file", href: server ? server.url(file.id) : null });
    fill(link, file);
    link.addEventListener("click", (event) => {
      if (link.target) return;
      event.preventDefault();
      void this.#save(file, link);
    });
    if (server && (!file.mime || isShown(file))) {
      this.#unseen.set(link, file);
      this.#seen.observe(link);
    }
    return link;
  }
  /** @param {FileInfo} file @param {HTMLElement} link */
  async #save(file, link) {
    const server = this.#server();
    if (!server || link.getAttribute("aria-busy")) return;
    link.setAttribute("aria-busy", "true");
    try {
      const { blob, name } = await server.load(file.id);
      const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
      create("a", { href: url, download: name ?? file.name }).click();
      window.setTimeout(() => URL.revokeObjectURL(url), SAVED2);
    } catch {
      this.#notify(texts.downloadFailed);
    } finally {
      link.removeAttribute("aria-busy");
    }
  }
  /** @param {IntersectionObserverEntry[]} entries */
  #see(entries) {
    for (const { target, isIntersecting } of entries) {
      const file = this.#unseen.get(target);
      if (!isIntersecting || !file) continue;
      this.#seen.unobserve(target);
      this.#unseen.delete(target);
      void this.#look(
        /** @type {HTMLElement} */
        target,
        file
      );
    }
  }
  /** Somebody sees a file: show what it is. @param {HTMLElement} link @param {FileInfo} file */
  async #look(link, file) {
    const server = this.#server();
    try {
      if (server && !file.mime) fill(link, Object.assign(file, await server.inquire(file.id)));
      if (server && isShown(file)) await this.#show(link, file, (await server.load(file.id)).blob);
    } catch {
    }
  }
  /** @param {HTMLElement} link @param {FileInfo} file @param {Blob} bytes */
  async #show(link, { mime, name }, bytes) {
    if (isText(mime)) {
      link.before(create("pre", { part: "file-text", tabindex: "0", "aria-label": name }, await bytes.text()));
      return;
    }
    const url = URL.createObjectURL(new Blob([bytes], { type: mime }));
    this.#urls.add(url);
    if (mime === PDF) open(link, url);
    else if (isRaster(mime)) this.#picture(link, url);
    else this.#media(link, url, mime, name);
  }
  /** A sound or a film. @param {HTMLElement} link @param {string} url @param {string} mime @param {string} name */
  #media(link, url, mime, name) {
    const player = create(mime.startsWith("audio/") ? "audio" : "video", { part: "media", controls: true, preload: "metadata", "aria-label": name });
    if (!player.canPlayType(mime)) return;
    player.addEventListener("error", () => player.remove());
    player.src = url;
    link.before(player);
  }
  /** @param {HTMLElement} link @param {string} url */
  #picture(link, url) {
    const image = create("img", { part: "image", src: url, alt: "" });
    image.addEventListener("error", () => image.remove());
    image.addEventListener("load", () => link.setAttribute("part", "file picture"));
    link.prepend(image);
  }
};
function fill(link, { name, size }) {
  const words2 = sizeWords(Number(size));
  link.title = texts.download(name || texts.file);
  link.replaceChildren(icon("file"), isolated(name || texts.file, "file-name"), ...words2 ? [create("span", { part: "file-size" }, words2)] : []);
}
function isShown({ mime, size }) {
  const type = String(mime ?? "");
  if (isText(type)) return !(size > EXCERPT);
  return (isRaster(type) || isMedia(type) || type === PDF) && !(size > THUMBNAIL);
}
function open(link, url) {
  if (!(link instanceof HTMLAnchorElement)) return;
  link.href = url;
  link.target = "_blank";
  link.rel = "noreferrer";
  link.setAttribute("part", "file document");
  link.title = texts.openFile;
}
function unnamed(file) {
  return typeof file === "object" ? file : { id: file, name: texts.file, mime: "", size: 0 };
}

// src/steps.js
function isStep(data) {
  return typeof data?.id === "string";
}
var Steps = class {
  /** @type {Map<string, Row>} */
  #rows = /* @__PURE__ */ new Map();
  #list;
  /** @param {HTMLElement} list of what is in the log */
  constructor(list) {
    this.#list = list;
  }
  clear() {
    this.#rows.clear();
  }
  /** @param {StepData} data */
  put(data) {
    const known = this.#rows.get(data.id);
    const row = known ?? new Row();
    row.show(data);
    if (known) return;
    this.#rows.set(data.id, row);
    const parent = data.parent == null ? void 0 : this.#rows.get(data.parent);
    (parent?.parts ?? this.#list).append(row.element);
  }
  /** @param {string} id with the steps that are part of it */
  remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }
  /** Where the output of a step is, if it is one. @param {string} id */
  output(id) {
    return this.#rows.get(id)?.output;
  }
};
var Row = class {
  #name = create("bdi", { part: "step-name" });
  #state = create("span", { part: "step-state" });
  #input = create("pre", { part: "step-text" });
  #error = create("p", { part: "step-error" });
  #details;
  output = create("pre", { part: "step-text" });
  /** The steps that are part of it. */
  parts = create("div", { part: "steps" });
  constructor() {
    const summary = create("summary", { part: "step-summary" }, this.#name, this.#state);
    const body = create("div", { part: "step-body" }, labelled(texts.stepInput, this.#input), labelled(texts.stepOutput, this.output), this.#error);
    this.#details = create("details", { part: "step" }, summary, body);
    this.element = create("div", { part: "step-row", "aria-live": "off" }, this.#details, this.parts);
  }
  /** @param {StepData} data */
  show({ id, name, type, input, output, error, streaming }) {
    const state = streaming ? "running" : error ? "failed" : "done";
    this.element.dataset.id = id;
    this.#details.dataset.state = state;
    this.#details.dataset.type = type ?? "";
    this.#name.textContent = name || texts.step;
    this.#state.textContent = texts.stepStates[state];
    this.#input.textContent = input ?? "";
    this.output.textContent = output ?? "";
    this.#error.textContent = error ?? "";
  }
};
function labelled(label, text) {
  return create("div", { part: "step-field" }, create("div", { part: "step-label" }, label), text);
}

// src/transcript.js
var Transcript = class {
  /** @type {Map<string, HTMLElement>} messages by their id */
  #messages = /* @__PURE__ */ new Map();
  /** @type {Map<number, HTMLElement>} what persons wrote, by the number of its event: ids are chosen by clients */
  #own = /* @__PURE__ */ new Map();
  #list;
  #waiting;
  #actions;
  #files;
  #steps;
  #author = "";
  /**
   * @param {HTMLElement} list of what is in the log
   * @param {HTMLElement} waiting list of what is not yet
   * @param {TranscriptHandlers} handlers
   */
  constructor(list, waiting, { act, asked, ...handlers }) {
    this.#list = list;
    this.#waiting = waiting;
    this.#actions = new Actions(act);
    this.#files = new Files(handlers.server, handlers.notify);
    this.#steps = new Steps(list);
    this.asks = new Asks({ ...handlers, changed: asked });
  }
  get empty() {
    return ![...this.#list.children].some((element) => !/** @type {HTMLElement} */
    element.hidden) && !this.#waiting.childElementCount;
  }
  /** Who writes when a message does not say. @param {string} author */
  set author(author) {
    this.#author = author;
  }
  clear() {
    this.#messages.clear();
    this.#own.clear();
    this.#actions.clear();
    this.#files.clear();
    this.#steps.clear();
    this.asks.clear();
    this.#list.replaceChildren();
  }
  /** A remark between the messages. @param {string} text */
  note(text) {
    this.#list.append(create("p", { part: "note" }, text));
  }
  /** Show an entry. @param {Entry} entry @param {boolean} live @returns {boolean} whether it was one of ours to show */
  show({ name, data, n }, live) {
    if (n != null) this.#showOwn(name, data, n);
    else if (name === "message_update" && data?.n != null) this.#changeOwn(data);
    else if (name === "message_remove" && data?.n != null) this.#removeOwn(data.n);
    else if (name === "message" || name === "message_update") this.#put(data);
    else if (name === "message_remove") this.#remove(data?.id);
    else if ((name === "step" || name === "step_update") && isStep(data)) this.#steps.put(data);
    else if (name === "step_remove" && isStep(data)) this.#steps.remove(data.id);
    else if (name === "error") this.#list.append(failure(data));
    else if (name === "ask") this.#list.append(this.asks.show(data, data.author || this.#author || texts.assistant, live));
    else if (name === "ask_closed") this.asks.close(data?.call, data?.outcome);
    else return false;
    return true;
  }
  /** @param {string} id @param {string} text */
  append(id, text) {
    const content = this.#content(id);
    if (!content) return;
    content.hidden = false;
    if (content.lastChild instanceof Text) content.lastChild.appendData(text);
    else content.append(text);
  }
  /** @param {string} id @param {string} content so far */
  replace(id, content) {
    const shown = this.#content(id);
    if (shown) shown.textContent = content;
    else this.#put({ id, content, streaming: true });
  }
  /** What is not in the log yet. @param {Outgoing[]} frames @param {boolean} online */
  showWaiting(frames, online) {
    const state = online ? texts.sending : texts.waiting;
    const words2 = frames.map((frame) => this.#words(frame.type === "answer" ? "answer" : frame.name, frame.type === "answer" ? frame : frame.data));
    this.#waiting.replaceChildren(...words2.flatMap((said) => said ? [this.#written(said, { waiting: state })] : []));
    this.asks.update(new Set(frames.flatMap(({ type, call }) => type === "answer" && call ? [call] : [])));
    this.#actions.update(online, new Set(frames.flatMap(({ name, data }) => name === "action" ? [data?.id] : [])));
  }
  /** @param {string} name @param {any} data @param {number} n */
  #showOwn(name, data, n) {
    const words2 = this.#words(name, data);
    if (name === "answer") this.asks.close(data?.call);
    if (!words2) return;
    const element = this.#written(words2, { time: data?.created_at });
    this.#own.set(n, element);
    this.#list.append(element);
  }
  /** The bot has changed what a person wrote. Where no files are named they are as they were. @param {MessageData & {n?: number}} data */
  #changeOwn({ n, content, created_at, files }) {
    const shown = this.#own.get(Number(n));
    const element = this.#written({ text: String(content ?? ""), files }, { time: created_at });
    const kept = files ? null : shown?.querySelector("[part~=files]");
    if (kept) element.append(kept);
    this.#own.set(Number(n), element);
    if (shown) shown.replaceWith(element);
    else this.#list.append(element);
  }
  /** @param {number} n */
  #removeOwn(n) {
    this.#own.get(n)?.remove();
    this.#own.delete(n);
  }
  /** What a person said with a frame, or null for what is no talk. @param {string | undefined} name @param {any} data @returns {Words | null} */
  #words(name, data) {
    if (name === "answer") return this.asks.words(data);
    if (name !== "message" || typeof data?.content !== "string") return null;
    return { text: data.content, files: Array.isArray(data.files) ? data.files : void 0 };
  }
  /** @param {Words} words @param {{waiting?: string, time?: string}} options */
  #written({ text, files }, options) {
    return ownArticle(text, { ...options, files: this.#files.list(files) });
  }
  /** @param {MessageData} data */
  #put(data) {
    const element = this.#message(data);
    const shown = this.#messages.get(data.id);
    this.#messages.set(data.id, element);
    if (shown) shown.replaceWith(element);
    else this.#list.append(element);
  }
  /** @param {string} id */
  #remove(id) {
    this.#messages.get(id)?.remove();
    this.#messages.delete(id);
    this.#actions.forget(id);
  }
  /** @param {MessageData} data */
  #message({ id, author, content, created_at, streaming, actions, files, metadata }) {
    const kind = metadata?.error === true ? "other error" : "other";
    const element = article(
      {
        author: author || this.#author || texts.assistant,
        text: String(content ?? ""),
        time: created_at,
        kind: streaming ? `${kind} streaming` : kind,
        files: this.#files.list(files)
      },
      this.#actions.row(id, actions)
    );
    element.dataset.id = id;
    element.hidden = !streaming && !content && !files?.length && !actions?.length;
    if (streaming) element.setAttribute("aria-live", "off");
    return element;
  }
  /** @param {string} id @returns {HTMLElement | null | undefined} */
  #content(id) {
    return this.#steps.output(id) ?? this.#messages.get(id)?.querySelector("[part~=content]");
  }
};

// src/window-messages.js
var NAME3 = "window_message";
var WindowMessages = class {
  #window;
  #origin;
  #received;
  /**
   * @param {Window} window of the chat; its parent is whom it talks to
   * @param {() => string | null} origin of the parent; null: nobody is talked to, nobody is heard
   * @param {(data: any) => void} received from the parent
   */
  constructor(window2, origin, received) {
    this.#window = window2;
    this.#origin = origin;
    this.#received = received;
  }
  listen() {
    this.#window.addEventListener("message", this.#hear);
  }
  unlisten() {
    this.#window.removeEventListener("message", this.#hear);
  }
  /**
   * Tell the parent an entry of the log: once, however often the log is read.
   * @param {{session: string | null, memory: import("./storage.js").Memory}} client
   * @param {number} seq
   * @param {any} data
   */
  relay({ session, memory }, seq, data) {
    const before = memory.recall("relayed");
    if (before?.session === session && before?.seq >= seq) return;
    if (this.post(data)) memory.keep("relayed", { session, seq });
  }
  /** Tell the parent. @param {any} data @returns {boolean} whether there was one to tell */
  post(data) {
    const { parent } = this.#window;
    const origin = exact(this.#origin());
    if (!origin || parent === this.#window) return false;
    parent.postMessage(data, origin);
    return true;
  }
  /** @param {MessageEvent} event */
  #hear = ({ source, origin, data }) => {
    const expected = exact(this.#origin());
    if (expected && origin === expected && source === this.#window.parent && source !== this.#window) this.#received(data ?? null);
  };
};
function exact(text) {
  if (!text || !URL.canParse(text)) return null;
  const { origin } = new URL(text);
  return origin === "null" ? null : origin;
}

// src/chat-session.js
var STYLESHEETS = [chat_session_default, panels_default].map((text) => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  return sheet;
});
var SILENT = ["replaced", "ended", "refused"];
var SAID_ELSEWHERE = ["handler_error", "interrupted", "missing_env", "not_migrated"];
var SHOWN_AT_ONCE = 50;
var SHOWN_EVERY = 500;
var places = /* @__PURE__ */ new Set();
var unreachable = /* @__PURE__ */ new Set();
var ChatSessionElement = class extends HTMLElement {
  static observedAttributes = ["src", "heading", "placeholder", "files", "threads", "profiles", "api", "owner"];
  /** Every word it says. */
  static texts = texts;
  /** @type {ChatClient | null} */
  #client = null;
  /** @type {FileServer | null} */
  #server = null;
  /** @type {number | undefined} */
  #waiting;
  /** Which conversation of the page it has. @type {string | null} */
  #place = null;
  /** Whose page it is, when the conversation began. @type {string | null} */
  #owner = null;
  #parts = layout();
  #ready = false;
  #notice = new Notice(this.#parts);
  #banner = new Banner(this.#parts);
  #scrolling = new Scrolling(this.#parts.messages, this.#parts.jump);
  #transcript = new Transcript(this.#parts.list, this.#parts.waiting, {
    act: (data) => this.#attempt(() => this.#client?.send("action", data)) && this.#scrolling.toEnd(),
    answer: (call, data) => this.#answer(call, data),
    asked: () => this.#showWork(),
    announce: (text) => this.#parts.announcer.textContent = text,
    notify: (text) => this.#notice.show(text),
    server: () => this.#server
  });
  #composer = new Composer(this.#parts, {
    send: (text, files) => this.#say(text, files),
    edited: (text) => this.#client && (this.#client.draft = text),
    escape: () => this.#stop(),
    notify: (text) => this.#notice.show(text),
    server: () => this.#server,
    limits: () => ({ accept: this.getAttribute("files")?.split(","), maxMegabytes: Number(this.getAttribute("max-file-bytes")) / 1024 ** 2 }),
    asked: () => this.#transcript.asks.openFiles
  });
  #starters = new Starters((message) => {
    this.#say(message, []);
    this.focus();
  });
  #choice = new ProfileChoice(this.#parts.choice);
  #settings = new Settings((values) => this.#attempt(() => this.#client?.send("settings", values)));
  #keys = new Keys(this.#parts.keys, () => this.focus());
  #threads = new Threads(() => this.#api, () => this.getAttribute("chat"), (thread) => this.#start({ thread }));
  #earlier = new Earlier(this.#parts.earlier, () => this.getAttribute("heading") ?? "");
  #anew = tool("tool new", "plus", texts.newConversation, () => this.#startAnew(), { hidden: true });
  #window = new WindowMessages(window, () => this.getAttribute("parent-origin"), (data) => {
    this.#attempt(() => this.#client?.send(NAME3, data));
  });
  constructor() {
    super();
    const { chat, tools } = this.#parts;
    tools.prepend(this.#threads.tool, this.#anew, this.#settings.tool, this.#keys.tool);
    this.#parts.empty.after(this.#starters.element);
    chat.append(this.#threads.dialog, this.#settings.dialog, this.#keys.dialog);
    const root = this.attachShadow({ mode: "open", delegatesFocus: false });
    root.adoptedStyleSheets = STYLESHEETS;
    root.append(chat);
    this.#wire();
  }
  /** The protocol beneath. */
  get client() {
    return this.#client;
  }
  connectedCallback() {
    this.#scrolling.observe(this.#parts.list, this.#parts.earlier);
    this.#window.listen();
    this.#composer.fit();
    if (!this.#client || this.#place === null) this.#begin();
    else if (this.#parts.choice.hidden) this.#client.connect();
  }
  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#scrolling.disconnect();
      this.#window.unlisten();
      this.#client?.close();
      this.#unclaim();
    });
  }
  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    const another = name === "src" || name === "owner" && this.#client && now !== this.#owner;
    if (another && this.isConnected) this.#begin();
    else this.#label();
  }
  /** Put the cursor where one writes. @param {FocusOptions} [options] */
  focus(options) {
    this.#parts.input.focus(options);
  }
  // --- beginnings -----------------------------------------------------------------------------------
  #begin() {
    this.#client?.close();
    this.#client = this.#server = null;
    this.#unclaim();
    this.#choice.cancel();
    this.#offerChoice(false);
    this.#reset("new");
    this.#label();
    const src = this.getAttribute("src");
    if (!src) return;
    const [profile, thread, language, owner] = ["profile", "thread", "language", "owner"].map((name) => this.getAttribute(name) ?? void 0);
    this.#owner = this.getAttribute("owner");
    const client = new ChatClient(src, { profile, thread, language, owner, key: this.#claim(src) });
    this.#client = client;
    this.#server = this.#api ? new FileServer(this.#api, client) : null;
    this.#keys.client = client;
    this.#listen(client);
    this.#composer.clear();
    this.#composer.text = client.draft;
    this.#showWaiting();
    this.#showProfile();
    if (client.session || client.profile || !this.hasAttribute("profiles")) client.connect();
    else this.#chooseProfile(() => client.connect());
  }
  /**
   * What tells this element's conversation from others of its chat on the page: its `id`, or its place.
   * @param {string} src
   */
  #claim(src) {
    let key = this.id && `id=${this.id}`;
    for (let place = 2; places.has(`${src} ${key}`); place++) key = `${place}`;
    this.#place = `${src} ${key}`;
    places.add(this.#place);
    return key;
  }
  #unclaim() {
    if (this.#place !== null) places.delete(this.#place);
    this.#place = null;
  }
  /** @param {ChatClient} client */
  #listen(client) {
    const on = (type, handle) => client.addEventListener(type, (event) => {
      if (client === this.#client) handle(
        /** @type {CustomEvent} */
        event.detail
      );
    });
    on("state", (state) => this.#showState(state));
    on("owner", () => this.#forget());
    on("reset", ({ reason }) => this.#reset(reason));
    on("ready", () => this.#caughtUp());
    on("event", (entry) => this.#showEntry(entry));
    on("token", ({ message, text }) => this.#transcript.append(message, text));
    on("stream", ({ message, content }) => this.#transcript.replace(message, content));
    on("turn", () => this.#showWork());
    on("pending", ({ length }) => length <= SHOWN_AT_ONCE ? this.#showWaiting() : this.#showWaitingSoon());
    on("notice", (notice2) => this.#showNotice(notice2));
  }
  /** Somebody else is here. */
  #forget() {
    this.#composer.clear();
    this.#keys.forget();
    this.#notice.dismiss();
    this.#showProfile();
  }
  /** @param {() => void} then */
  #chooseProfile(then) {
    const load = async () => profilesIn(this.getAttribute("profiles")) ?? fetchProfiles(this.#api ?? "", this.getAttribute("chat") ?? "");
    this.#offerChoice(true);
    void this.#choice.ask(load, this.#client?.profile, (name) => {
      const focused = this.#parts.choice.contains(this.shadowRoot?.activeElement ?? null);
      this.#offerChoice(false);
      if (this.#client && name) this.#client.profile = name;
      this.#showProfile();
      then();
      if (focused) this.focus();
    });
  }
  /** @param {boolean} offered whether a choice stands in the conversation's place */
  #offerChoice(offered) {
    const { choice: choice2, body, composer: composer2, activity: activity2, end, status } = this.#parts;
    choice2.hidden = !offered;
    this.#label();
    body.hidden = composer2.hidden = activity2.hidden = end.hidden = status.hidden = offered;
  }
  /** A new conversation, with another profile if there are some to choose from. */
  #startAnew() {
    if (!this.hasAttribute("profiles")) return this.#start({});
    this.#client?.close();
    this.#chooseProfile(() => this.#start({}));
  }
  /** @param {{thread?: string}} options */
  #start(options) {
    this.#choice.cancel();
    this.#offerChoice(false);
    this.#client?.newSession(options);
    this.focus();
  }
  // --- what the client says -----------------------------------------------------------------------
  /** @param {string} reason */
  #reset(reason) {
    const { messages } = this.#parts;
    this.#transcript.clear();
    this.#starters.offer();
    this.#settings.clear();
    if (reason !== "gap") this.#composer.restart();
    this.#ready = false;
    this.#scrolling.reset();
    messages.setAttribute("aria-live", "off");
    messages.setAttribute("aria-busy", "true");
    if (texts.notes[reason]) this.#transcript.note(texts.notes[reason]);
    this.#earlier.clear();
    this.#showEmpty();
  }
  /** What was said in the thread before this session. */
  #showEarlier() {
    const { thread, session } = this.#client ?? {};
    if (thread && session && this.#api) void this.#earlier.show(this.#api, thread, session).then(() => this.#showEmpty());
  }
  /** The replay is complete: from now on, what comes is news. */
  #caughtUp() {
    this.#ready = true;
    this.#showEarlier();
    this.#passOn();
    setTimeout(() => this.#readOut());
    this.#showEmpty();
    this.#showWork();
  }
  #readOut() {
    if (!this.#ready) return;
    this.#parts.messages.removeAttribute("aria-busy");
    this.#parts.messages.setAttribute("aria-live", "polite");
  }
  /** @param {Entry & {live: boolean}} entry */
  #showEntry(entry) {
    const { seq, name, data, n, live } = entry;
    const shown = this.#transcript.show(entry, live) || n == null && (this.#settings.show(name, data) || this.#offer(name, data));
    if (n == null && name === NAME3 && this.#client) this.#window.relay(this.#client, seq, data);
    if (name === "ask" && this.#ready) this.#passOn();
    if (!shown) this.#dispatch("chat-event", { seq, name, data, live });
    this.#showEmpty();
    this.#showWork();
    if (live) this.#scrolling.keep();
  }
  /** @param {string} name @param {any} data @returns {boolean} whether it was what one may begin with */
  #offer(name, data) {
    const offered = name === "starters" && Array.isArray(data?.starters);
    if (offered) this.#starters.offer(data);
    return offered;
  }
  /** The application's own questions are its own to answer; of a replay, those that are still open. */
  #passOn() {
    for (const ask of this.#transcript.asks.takeOthers()) this.#dispatch("chat-ask", ask);
  }
  /** With thousands of them, not with each one. */
  #showWaitingSoon() {
    this.#waiting ??= window.setTimeout(() => this.#showWaiting(), SHOWN_EVERY);
  }
  #showWaiting() {
    window.clearTimeout(this.#waiting);
    this.#waiting = void 0;
    const client = this.#client;
    if (!client) return;
    const frames = client.pending;
    this.#transcript.showWaiting(frames, client.state.state === "online");
    this.#settings.update(frames);
    this.#showEmpty();
  }
  #showEmpty() {
    const { empty } = this.#parts;
    const { state, attempt } = this.#state;
    const failing = !this.#ready && attempt > 1;
    empty.hidden = failing || !this.#transcript.empty || !this.#earlier.empty || SILENT.includes(state);
    this.#starters.element.hidden = empty.hidden || !this.#ready || !this.#starters.any;
    empty.textContent = !this.#ready ? texts.states.connecting : this.#starters.any ? texts.starters : texts.empty;
  }
  #showWork() {
    const { working, stop, activity: activity2, hint } = this.#parts;
    const busy = this.#working;
    const asked = this.#transcript.asks.open;
    const answering = this.#transcript.asks.openText !== void 0;
    const choosing = !answering && this.#transcript.asks.openChoice;
    this.#keepFocus(() => {
      working.hidden = !busy || asked;
      stop.hidden = !busy;
    });
    hint.hidden = busy && !answering && !choosing;
    hint.textContent = answering ? texts.answerHint : choosing ? texts.choiceHint : texts.hint;
    activity2.toggleAttribute("data-question", answering || choosing);
    this.#composer.answering = answering;
  }
  get #working() {
    return this.#state.state === "online" && this.#client?.turn != null;
  }
  /** @param {NoticeDetail} notice */
  #showNotice({ code, detail, frame, retryAfter }) {
    if (frame) this.#dispatch("chat-event-refused", { code, detail, frame });
    if (SAID_ELSEWHERE.includes(code)) return;
    if (frame?.name === "settings") return this.#settings.refused(frame.data, detail || code);
    const text = frame?.data?.content;
    if (typeof text === "string" && !this.#composer.text) {
      this.#composer.text = text;
      if (this.#client) this.#client.draft = text;
    }
    const known = texts.notices[code] ?? detail;
    this.#notice.show(known || (frame?.type === "answer" ? texts.answerRefused : frame?.name === "action" ? texts.actionRefused : code), retryAfter);
  }
  // --- states ---------------------------------------------------------------------------------------
  /** @returns {StateDetail} */
  get #state() {
    return this.#client?.state ?? { state: "closed", attempt: 0 };
  }
  /** @param {StateDetail} state */
  #showState(state) {
    const { chat, status, composer: composer2, activity: activity2, end, dialog } = this.#parts;
    const silent = SILENT.includes(state.state);
    const { reached = false, session } = this.#client ?? {};
    const past = { reached, session: reached || Boolean(session) };
    this.setAttribute("data-state", state.state);
    chat.setAttribute("data-state", state.state);
    status.textContent = statusWords(state, past);
    if (silent) {
      this.#notice.dismiss();
      dialog.close();
      this.#settings.dialog.close();
    }
    this.#keepFocus(() => {
      composer2.hidden = activity2.hidden = end.hidden = silent;
      this.#banner.show(state, past, this.getAttribute("login-url"));
      this.#showKeys(state);
    });
    if (state.state === "online" && this.#client && !this.#composer.text) this.#composer.text = this.#client.draft;
    this.#showWaiting();
    this.#showWork();
    if (state.state === "offline" && state.attempt > 1 && !past.reached && !state.reason) this.#explain();
    this.#dispatch("chat-state", state);
  }
  /** Tell who sets this up what it may be, once. */
  #explain() {
    const url = this.#client?.url ?? "";
    if (unreachable.has(url)) return;
    unreachable.add(url);
    console.error(
      `<chat-session> cannot connect to ${url}. The usual causes: no websocket route has this path; runserver is not daphne's ('daphne' comes first in INSTALLED_APPS), or the server takes no websockets; ${location.host || "this page"} is not in ALLOWED_HOSTS, so that the server refuses its pages (403); the server is not running. Its log says more.`
    );
  }
  /** @param {StateDetail} state */
  #showKeys({ state, reason, detail }) {
    if (state !== "refused" || reason !== "missing_env") return this.#keys.release();
    this.#keys.demand((detail ?? "").split(",").map((name) => name.trim()).filter(Boolean));
  }
  /** Hide and show; if that takes away what has the focus, it goes where one goes on. @param {() => void} change */
  #keepFocus(change) {
    const { composer: composer2, input, banner: banner2, bannerLink, bannerButton, keys } = this.#parts;
    const focused = this.shadowRoot?.activeElement;
    change();
    if (!focused || focused.isConnected && focused.checkVisibility()) return;
    if (!composer2.hidden) input.focus();
    else if (!keys.hidden) keys.querySelector("input")?.focus();
    else if (!banner2.hidden) (bannerLink.hidden ? bannerButton : bannerLink).focus();
  }
  /** The banner's button: the way out of the state. */
  #resolve() {
    const { state } = this.#state;
    if (state === "ended") return this.#startAnew();
    if (state === "replaced") this.#client?.takeOver();
    else this.#client?.connect();
    this.focus();
  }
  // --- what a person does -----------------------------------------------------------------------------
  #wire() {
    const { messages, stop, jump, dismiss, end, bannerButton, dialog, endConfirm } = this.#parts;
    messages.addEventListener("keydown", (event) => event.key === "Escape" && this.#stop());
    stop.addEventListener("click", () => this.#stop());
    jump.addEventListener("click", () => {
      this.#scrolling.toEnd();
      this.focus();
    });
    dismiss.addEventListener("click", () => {
      this.#notice.dismiss();
      this.focus();
    });
    bannerButton.addEventListener("click", () => this.#resolve());
    end.addEventListener("click", () => dialog.showModal());
    endConfirm.addEventListener("click", () => this.#client?.end());
  }
  /** @param {string} text @param {string[]} files */
  #say(text, files) {
    const question = this.#transcript.asks.openText;
    if (question) return this.#answer(question.call, { content: text });
    const said = this.#attempt(() => this.#client?.sendMessage(text, files));
    if (said) this.#scrolling.toEnd();
    return said;
  }
  /** @param {string} call @param {any} data */
  #answer(call, data) {
    const answered = this.#attempt(() => this.#client?.answer(call, data));
    if (!answered) return false;
    this.#keepFocus(() => this.#showWaiting());
    this.#scrolling.toEnd();
    return true;
  }
  /** Do something that may be refused at once. @param {() => void} send */
  #attempt(send) {
    try {
      send();
    } catch (error) {
      this.#notice.show(error instanceof Error ? error.message : String(error));
      return false;
    }
    this.#notice.dismiss();
    return true;
  }
  #stop() {
    if (!this.#working) return;
    this.#client?.stop();
    this.focus();
  }
  // --- small things ----------------------------------------------------------------------------------------
  /** Where `chatsessions.urls` is included, with the slash at its end. */
  get #api() {
    const base = this.getAttribute("api");
    return base && !base.endsWith("/") ? `${base}/` : base;
  }
  #label() {
    const { chat, heading } = this.#parts;
    const title = this.getAttribute("heading") ?? "";
    heading.textContent = title;
    heading.hidden = !title;
    chat.setAttribute("aria-label", title || texts.log);
    this.#transcript.author = title;
    this.#composer.placeholder = this.getAttribute("placeholder") || texts.placeholder;
    this.#composer.files = this.hasAttribute("files") && Boolean(this.#api);
    this.#threads.tool.hidden = !this.hasAttribute("threads") || !this.#api;
    this.#anew.hidden = !this.#parts.choice.hidden || !(this.hasAttribute("threads") || this.hasAttribute("profiles"));
  }
  #showProfile() {
    const { profile } = this.#parts;
    const name = this.#client?.profile ?? "";
    profile.hidden = !name;
    profile.replaceChildren(create("bdi", {}, name));
    profile.title = name && texts.profile(name);
  }
  /** @param {string} type @param {any} detail */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
  }
};
if (!customElements.get("chat-session")) customElements.define("chat-session", ChatSessionElement);
export {
  ChatSessionElement
};
