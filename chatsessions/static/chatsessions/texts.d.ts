// Built by `make page`
/**
 * Every word that `<chat-session>` says. Assign to it before the element is used, for other words.
 *
 * Each built file has a copy of this module. The copies share one object, so that what a page assigns
 * through `texts.js` is what `chat-session.js` says.
 */
declare const texts: {
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
    /** How long it has worked */
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
    /** By close code */
    refusedWith: Record<string, string>;
    refused: string;
    /** By the server's error code, with close code 4502 */
    refusedFor: Record<string, string>;
    loginFirst: string;
    logIn: string;
    tryAgain: string;
    /** Why the log begins anew */
    notes: Record<string, string>;
    /** By error code, instead of the server's words */
    notices: Record<string, string>;
    /** By what was sent, for a refusal without words of the server's. */
    actionRefused: string;
    answerRefused: string;
    failed: string;
    /** On a block of code */
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
    /** How a question ended without an answer */
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
    /** By the server's error code; others are told in its own words, or, where it has none, by the HTTP status */
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
/** The part of them that stands in the widget's file, which is to be small. */
declare const widgetTexts: {
    name: string;
    close: string;
    loading: string;
    failed: string;
    unread: (count: number) => string;
};
/** Say in the page's language what the page has not assigned. */
declare function translate<T extends object>(target: T): T;

export { texts, translate, widgetTexts };
