// Vite's configuration for pages of tests that show neither diagrams nor highlighted code: what a chat would load for
// these alone takes half of a build. Builds that are themselves tested are complete.
export default { build: { rolldownOptions: { external: /^(mermaid|shiki)(\/|$)/ } } };
