// What the page remembers, by name. A browser may forbid its storage.

const PREFIX = "playground-";

export function recall(storage, name, otherwise) {
  try {
    return JSON.parse(storage().getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(storage, name, value) {
  try {
    storage().setItem(PREFIX + name, JSON.stringify(value));
  } catch (error) {
    console.warn(error);
  }
}

// Functions, since even to name the storage may raise.
export const inTab = () => sessionStorage;
export const inBrowser = () => localStorage;
