// Built by `make page`
import { ChatClient, Outgoing } from './client.js';

type NoticeDetail = {
    code: string;
    detail?: string;
    frame?: Outgoing;
    retryAfter?: number;
};
declare class ChatSessionElement extends HTMLElement {
    #private;
    static observedAttributes: string[];
    /** Every word it says. */
    static texts: {
        you: string;
        assistant: string;
        inputLabel: string;
        placeholder: string;
        hint: string;
        answerHint: string;
        choiceHint: string;
        answerLabel: string;
        answerPlaceholder: string;
        send: string;
        stop: string;
        working: string;
        elapsed: (seconds: number) => string;
        progress: string;
        end: string;
        endTitle: string;
        endQuestion: string;
        endConfirm: string;
        endCancel: string;
        log: string;
        jump: string;
        dismiss: string;
        empty: string;
        starters: string;
        sending: string;
        waiting: string;
        states: {
            connecting: string;
            online: string;
            offline: string;
            replaced: string;
            ended: string;
            refused: string;
            closed: string;
        };
        reconnecting: string;
        unreachable: string;
        offline: string;
        retryIn: (seconds: number) => string;
        tryNow: string;
        replaced: string;
        takeOver: string;
        endedBy: Record<string, string>;
        ended: string;
        startNew: string;
        refusedWith: Record<string, string>;
        refused: string;
        refusedFor: Record<string, string>;
        loginFirst: string;
        logIn: string;
        tryAgain: string;
        notes: Record<string, string>;
        notices: Record<string, string>;
        actionRefused: string;
        answerRefused: string;
        failed: string;
        copy: string;
        copied: string;
        copyMessage: string;
        thumbs: {
            up: string;
            down: string;
        };
        comment: string;
        edit: string;
        editing: string;
        cancelEdit: string;
        step: string;
        stepInput: string;
        stepOutput: string;
        stepStates: {
            running: string;
            done: string;
            failed: string;
        };
        choices: string;
        outcomes: Record<string, string>;
        timeLeft: (seconds: number) => string;
        timeUp: string;
        attach: string;
        attachments: string;
        files: string;
        file: string;
        dropHere: string;
        remove: string;
        removeFile: (name: string) => string;
        uploading: (name: string) => string;
        chooseFile: string;
        chooseFiles: string;
        sendFiles: string;
        noFileYet: string;
        noFiles: string;
        stillUploading: string;
        removeFailed: string;
        fileLimits: (count: number | undefined, most: number | undefined) => string;
        tooManyFiles: (count: number) => string;
        wrongType: (name: string) => string;
        fileTooLarge: (name: string, most: number) => string;
        uploadFailed: string;
        uploadNetwork: string;
        uploadCancelled: string;
        uploadErrors: Record<string, string>;
        download: (name: string) => string;
        openFile: string;
        downloadFailed: string;
        panelsFailed: string;
        close: string;
        save: string;
        saving: string;
        settings: string;
        defaults: string;
        notANumber: string;
        notADate: string;
        firstDay: string;
        lastDay: string;
        bothDays: string;
        tagPlaceholder: string;
        removeTag: (name: string) => string;
        keys: string;
        keysWanted: string;
        keysNeeded: string;
        keysHint: string;
        keysSave: string;
        profiles: string;
        profile: (name: string) => string;
        profilesFailed: string;
        start: string;
        export: string;
        threads: string;
        newConversation: string;
        searchThreads: string;
        loading: string;
        noThreads: string;
        noThreadFound: string;
        threadsFound: (count: number, page: number, pages: number) => string;
        threadsFailed: string;
        untitled: string;
        previousPage: string;
        nextPage: string;
        earlier: string;
        earlierStill: string;
        earlierFailed: string;
        widget: {
            name: string;
            close: string;
            loading: string;
            failed: string;
            unread: (count: number) => string;
        };
    };
    constructor();
    /** The protocol beneath. */
    get client(): ChatClient | null;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(name: string, before: string | null, now: string | null): void;
    /** Put the cursor where one writes. */
    focus(options?: FocusOptions): void;
}
declare global {
    interface HTMLElementTagNameMap {
        "chat-session": ChatSessionElement;
    }
}

export { ChatSessionElement };
export type { NoticeDetail };
