"""Shared code of the notebooks: nine subpackages, in the order of the story.

==============  ==============================================================
``data``        images by name: demo, stl10, imagenette, your own folder
``views``       what a network gets to see: crops, colours, jigsaw patches
``models``      networks, their heads and files, features and k-NN
``methods``     one file a method, with what several methods share
``figures``     everything the notebooks draw
``training``    the two loops, with labels and without, and what they save
``notebook``    questions, sources to read, Colab
``evaluation``  from a backbone to a row of the results table
``cli``         the command line, ``python -m helpers COMMAND``
==============  ==============================================================

``hardware`` (device, precision) and ``files`` (written whole or not at all) serve all.
A subpackage imports from itself and from those further left:
hardware, files < data, views < models, methods, figures
< training < notebook < evaluation < cli < __main__
"""
