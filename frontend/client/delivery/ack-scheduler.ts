/** When the server is told how far we are: soon after something has come, and at once after much. */
import type { Timeouts } from "../clock.ts";
import { ACK_ENTRIES, ACK_EVERY } from "../limits.ts";

/** @param timeouts of the connection */
export function ackScheduler(timeouts: Timeouts, acknowledge: () => void) {
  /** The entries that came since the last acknowledgement. */
  let waiting = 0;

  const now = () => {
    timeouts.cancel("ack");
    waiting = 0;
    acknowledge();
  };

  /** Something has come. @param entries of the log among it */
  return (entries: number) => {
    waiting += entries;
    if (waiting >= ACK_ENTRIES) now();
    else timeouts.ensure("ack", ACK_EVERY, now);
  };
}
