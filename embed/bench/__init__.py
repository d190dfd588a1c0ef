"""Text to vector, measured beside other runtimes. The figures are rendered by `deploy.figures`."""
