"""Reports: what a reader gets, made of rows, verdicts, figures and tables, and how it is checked to follow from them.

The paper and the results page are written from generated data alone. Which rows stand behind a figure is seen
while it selects them; which bytes a build gives is compared with a committed manifest.
"""
