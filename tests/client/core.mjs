// CopilotKit's client, of the release that the environment names: `COPILOTKIT_CORE` is the name under which the package
// is installed. The newest one is the default.

import { env } from "node:process";

const name = env.COPILOTKIT_CORE ?? "@copilotkit/core";

/** Its release, such as "1.57". */
export const RELEASE = /-(1[.][0-9]+)$/.exec(name)?.[1] ?? "1.75";

export const {
  CopilotKitCore,
  CopilotKitCoreRuntimeConnectionStatus,
  ProxiedCopilotRuntimeAgent,
  ɵcreateThreadStore,
  ɵInterruptState,
} = await import(name);
