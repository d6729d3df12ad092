"""A few minutes on a large GPU, none of them wasted: ``python -m benchmarks.gpu``.

``plan``        what is asked for, the stages, and their shares of the time
``supervisor``  gives every stage its time, and ends all of it on time
``worker``      the process that the stages run in
``stages``      what is measured and trained
``project``     the only file here that knows the inside of ``helpers``
``parts``       backbones in float16, in parts of 15 MiB, and how to join them
``summary``     the results as Markdown
"""
