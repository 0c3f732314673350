"""``copilot-runtime doctor``: looks at a live mount as a frontend would, and says what is wrong with it."""
