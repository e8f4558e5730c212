// Built by `make page`
import { ChatSessionElement } from './chat-session.js';

declare class ChatWidgetElement extends HTMLElement {
    #private;
    constructor();
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** The `<chat-session>` in the panel; null before there is one. */
    get chat(): ChatSessionElement | null;
    /** Whether the panel is open. */
    get open(): boolean;
    /** Open the panel, and put the focus into it. */
    show(): void;
    /** Close the panel; the focus goes back to the button if it was in there. */
    hide(): void;
}
declare global {
    interface HTMLElementTagNameMap {
        "chat-widget": ChatWidgetElement;
    }
}

export { ChatWidgetElement };
