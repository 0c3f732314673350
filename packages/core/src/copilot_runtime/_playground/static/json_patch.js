// JSON Patch (RFC 6902).

// Returns a copy of a JSON value with operations applied. Raises an Error if one cannot be.
export function applyPatch(value, operations) {
  // A pointer begins with "/" or is empty, so its first key is always "", which is the key of the whole value.
  const root = { "": structuredClone(value) };
  for (const operation of operations) {
    const isKnown = Object.hasOwn(OPERATIONS, operation.op);
    if (!isKnown || OPERATIONS[operation.op](root, operation) !== true) refuse(operation);
  }
  return root[""];
}

function refuse({ op, path }) {
  throw new Error(`cannot ${op} ${path}`);
}

// Each returns true if it could be done.
const OPERATIONS = {
  add(root, { path, value }) {
    const [holder, key] = find(root, path);
    const isEnd = Array.isArray(holder) && (key === "-" || key === String(holder.length));
    if (Array.isArray(holder) && (isEnd || hasMember(holder, key))) holder.splice(isEnd ? holder.length : key, 0, value);
    else if (isObject(holder)) setMember(holder, key, value);
    else return null;
    return true;
  },
  remove(root, { path }) {
    const [holder, key] = find(root, path);
    if (!hasMember(holder, key)) return null;
    if (Array.isArray(holder)) holder.splice(key, 1);
    else delete holder[key];
    return true;
  },
  replace(root, { path, value }) {
    const [holder, key] = find(root, path);
    if (!hasMember(holder, key)) return null;
    setMember(holder, key, value);
    return true;
  },
  copy(root, { from, path }) {
    const [holder, key] = find(root, from);
    return hasMember(holder, key) ? OPERATIONS.add(root, { path, value: structuredClone(holder[key]) }) : null;
  },
  move(root, { from, path }) {
    const [holder, key] = find(root, from);
    if (!hasMember(holder, key)) return null;
    const value = holder[key];
    return OPERATIONS.remove(root, { path: from }) && OPERATIONS.add(root, { path, value });
  },
  test(root, { path, value }) {
    const [holder, key] = find(root, path);
    return hasMember(holder, key) && isEqual(holder[key], value) ? true : null;
  },
};

function find(root, path) {
  const keys = String(path).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = keys.pop();
  return [keys.reduce((node, key) => (hasMember(node, key) ? node[key] : undefined), root), last];
}

function hasMember(node, key) {
  // Unlike the elements of an array, its "length" is not part of the JSON value.
  if (Array.isArray(node)) return /^(0|[1-9]\d*)$/.test(key) && Number(key) < node.length;
  return isObject(node) && Object.hasOwn(node, key);
}

// Not by assignment, which would change the prototype for the key "__proto__".
function setMember(node, key, value) {
  Object.defineProperty(node, key, { value, writable: true, enumerable: true, configurable: true });
}

export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isEqual(one, other) {
  if (Array.isArray(one)) {
    return Array.isArray(other) && one.length === other.length && one.every((each, index) => isEqual(each, other[index]));
  }
  if (!isObject(one)) return one === other;
  const keys = Object.keys(one);
  return (
    isObject(other) &&
    keys.length === Object.keys(other).length &&
    keys.every((key) => Object.hasOwn(other, key) && isEqual(one[key], other[key]))
  );
}
