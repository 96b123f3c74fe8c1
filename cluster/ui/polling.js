// Looks again and again, as long as the page is seen; what fails is said, and tried again.

import { say } from "headrace/dom";

export const LIVE_S = 2;

// `draw` gives whether there is more to come; if not, the next look is `idle` seconds away, or never. Gives how to stop.
export async function polling(ask, draw, { idle = 0 } = {}) {
  let timer, stopped = false;
  const look = async () => {
    if (stopped) return;
    let next = LIVE_S;
    if (!document.hidden) {
      try {
        const found = await ask();
        if (stopped) return;
        next = draw(found) ? LIVE_S : idle;
      } catch (error) {
        say(`${error.message}; trying again`, true);
      }
    }
    if (next) timer = setTimeout(look, 1000 * next);
  };
  const first = await ask();
  const next = draw(first) ? LIVE_S : idle;
  if (next) timer = setTimeout(look, 1000 * next);
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
