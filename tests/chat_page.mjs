// What programs share that use CopilotKit's chat in a browser.

/**
 * Resolves once the chat of a thread has the thread, on the page that is opened next: until then it is replaced, and
 * what was written before is lost.
 */
export function threadLoaded(page) {
  // Not the first response: the page may abort its first request and send another one, and Playwright does not always
  // report the end of what was aborted.
  const loaded = page.waitForEvent("requestfinished", (request) => request.url().endsWith("/connect"));
  loaded.catch(() => {}); // of a page that is closed before
  return loaded;
}

/** Opens a page with the chat of a thread. */
export async function openChat(page, url) {
  const loaded = threadLoaded(page);
  await page.goto(url);
  await loaded;
}
