import { CopilotChat, CopilotKit } from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { createRoot } from "react-dom/client";

import { Approvals } from "./approvals.jsx";

const runtimeUrl = import.meta.env.VITE_RUNTIME_URL ?? "/api/copilotkit";

// The thread that a reload shows again. Without `threadId`, every reload begins a new one.
const threadId = (localStorage.threadId ??= crypto.randomUUID());

createRoot(document.getElementById("root")).render(
  <CopilotKit runtimeUrl={runtimeUrl}>
    <main style={{ height: "100dvh" }}>
      <CopilotChat agentId="default" threadId={threadId} />
    </main>
    <Approvals />
  </CopilotKit>,
);
