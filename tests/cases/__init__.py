"""Inputs that once gave a wrong answer, each with the right one."""
