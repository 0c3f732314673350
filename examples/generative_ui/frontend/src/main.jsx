import { CopilotChat, CopilotKit } from "@copilotkit/react-core/v2";
import "@copilotkit/react-core/v2/styles.css";
import { createRoot } from "react-dom/client";

import { catalog } from "./catalog.jsx";

// The thread that a reload shows again. Without `threadId`, every reload begins a new one.
const threadId = (localStorage.threadId ??= crypto.randomUUID());

createRoot(document.getElementById("root")).render(
  <CopilotKit runtimeUrl="/api/copilotkit" a2ui={{ catalog }}>
    <main style={{ height: "100dvh" }}>
      <CopilotChat agentId="default" threadId={threadId} />
    </main>
  </CopilotKit>,
);
