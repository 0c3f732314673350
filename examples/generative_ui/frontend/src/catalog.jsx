import { createCatalog, DynamicStringSchema } from "@copilotkit/a2ui-renderer";
import { z } from "zod";

// The components that agents may use: A2UI's basic ones, and one of this application.
export const catalog = createCatalog(
  { Departure: { description: "When and where a flight departs.", props: z.object({ time: DynamicStringSchema }) } },
  { Departure: ({ props }) => <strong>✈ {String(props.time)}</strong> },
  { catalogId: "https://example.com/flights", includeBasicCatalog: true },
);
