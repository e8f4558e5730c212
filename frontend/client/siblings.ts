/** The other tabs of this browser that have a chat open. */

/** What `BroadcastChannel` can do. */
export type Channel = typeof BroadcastChannel;

const NAME = "chatsessions";

export type Siblings = ReturnType<typeof siblingsBy>;

/**
 * Say things to the other tabs. A browser may have no channel for that, or forbid it: then
 * nobody hears anything.
 * @param heard another tab says something
 */
export function siblingsBy(Channel: Channel | null | undefined, heard: (message: any) => void) {
  let channel: BroadcastChannel | null = null;
  return {
    open() {
      try {
        channel ??= new Channel!(NAME);
        channel.onmessage = ({ data }) => heard(Object(data));
      } catch {
        // there is none, or it is forbidden, as in some private windows and frames
      }
    },
    close() {
      try {
        channel?.close();
      } catch {
        // there is nothing left to close
      }
      channel = null;
    },
    say(message: object) {
      try {
        channel?.postMessage(message);
      } catch {
        // nobody hears it
      }
    },
  };
}
