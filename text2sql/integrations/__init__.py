"""The evaluator inside other evaluation frameworks. Each module needs the framework that it is named after."""
