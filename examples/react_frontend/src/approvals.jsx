import { useHumanInTheLoop, useInterrupt } from "@copilotkit/react-core/v2";
import { useState } from "react";
import { z } from "zod";

const ANSWERS = { Approve: { approved: true }, Deny: { approved: false } };

// A tool of the server that waits for the user's approval.
export function Approvals({ agentId = "default", answers = ANSWERS }) {
  useInterrupt({
    agentId,
    render: ({ interrupts, resolve }) => (
      <div>
        {interrupts.map(({ id, message }) => (
          <Question key={id} text={message} answers={answers} respond={(answer) => resolve(answer, id)} />
        ))}
      </div>
    ),
  });
  return null;
}

// A tool of the frontend whose result is the user's answer.
export function Confirmation() {
  useHumanInTheLoop({
    name: "confirm",
    description: "Asks the user a question, and returns the answer.",
    parameters: z.object({ question: z.string() }),
    render: ({ args, respond, result }) =>
      respond ? <Question text={args.question} answers={{ Yes: "yes", No: "no" }} respond={respond} /> : <p>{result}</p>,
  });
  return null;
}

function Question({ text, answers, respond }) {
  const [isAnswered, setAnswered] = useState(false);
  const answer = (value) => {
    setAnswered(true);
    respond(value);
  };
  return (
    <form>
      <p>{text}</p>
      {Object.entries(answers).map(([label, value]) => (
        <button key={label} type="button" disabled={isAnswered} onClick={() => answer(value)}>
          {label}
        </button>
      ))}
    </form>
  );
}
