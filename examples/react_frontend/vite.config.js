import { defineConfig } from "vite";

// The page and the runtime have one origin this way, so that no CORS is needed.
const backend = process.env.COPILOTKIT_BACKEND ?? "http://127.0.0.1:8000";
const proxy = { "/api/copilotkit": backend };

export default defineConfig({ server: { proxy }, preview: { proxy } });
