// The components of examples/react_frontend, for the agent and the thread of the query, and the messages of the client.
import { CopilotChat, CopilotKit, useAgent } from "@copilotkit/react-core/v2";
import { createRoot } from "react-dom/client";

import { Approvals, Confirmation } from "./approvals.jsx";

const query = new URLSearchParams(location.search);
const agentId = query.get("agent");
const threadId = query.get("thread");

const ANSWERS = {
  Approve: { approved: true },
  Change: { approved: true, editedArgs: { amount: 3 } },
  Deny: { approved: false },
};

function Messages() {
  const { agent } = useAgent({ agentId });
  return <output id="messages">{JSON.stringify({ isRunning: agent.isRunning, messages: agent.messages })}</output>;
}

createRoot(document.getElementById("root")).render(
  <CopilotKit runtimeUrl="/api/copilotkit">
    <Messages />
    <main style={{ height: "80dvh" }}>
      <CopilotChat agentId={agentId} threadId={threadId} />
    </main>
    <Approvals agentId={agentId} answers={ANSWERS} />
    <Confirmation />
  </CopilotKit>,
);
