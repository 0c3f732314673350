import { defineConfig } from "vite";

// Gives the page and the runtime the same origin, so that no CORS is needed.
const backend = process.env.COPILOTKIT_BACKEND ?? "http://127.0.0.1:8000";
const proxy = { "/api/copilotkit": backend };

export default defineConfig({ server: { proxy }, preview: { proxy } });
