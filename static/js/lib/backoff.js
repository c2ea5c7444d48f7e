// How long to wait before the next attempt to connect.

const STEPS_MS = [500, 1000, 2000, 4000, 8000, 15000];

/**
 * Milliseconds before attempt number `attempt` (0 is the first after a loss), between half and all of
 * the step, so that a hundred tabs do not come back in the same instant.
 */
export function delayMs(attempt, random = Math.random) {
  const step = STEPS_MS[Math.min(Math.max(attempt, 0), STEPS_MS.length - 1)];
  return Math.round(step / 2 + (step / 2) * random());
}
