/** The waits between attempts. */
import { FIRST_RETRY, LONGEST_RETRY } from "../limits.ts";

/**
 * How long to wait before the next attempt, in milliseconds.
 *
 * Full jitter: a random time between nothing and a ceiling that doubles with every failure, so
 * that a thousand clients that lost the same server do not come back in the same moment.
 * @param attempt how many have failed since the last success
 * @param chance from 0 to 1
 */
export function backoff(attempt: number, chance: number) {
  return chance * Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** attempt);
}
