"""Shared code of the notebooks, read from the top down.

========================  ========================================================
``__main__``              the command line: ``python -m helpers --help``
``execute``               runs the notebooks in order: ``make run``
``address``               the project's address, in badges and setup cells
``commands``              what each command of the command line does
``pretraining``           the one pre-training loop
``protocols``             from a backbone to a record of the results table
``choices``               what the notebooks ask, and the answers
``sessions``              what one process holds while it trains
``settings``              everything a pre-training run depends on
``evaluation``            features, k-NN, linear probe: how good is a backbone?
``supervised``            the one supervised loop: baseline, MLP head, fine-tuning
``methods``               one file a method: what it sees, what it minimises
``results``               one record a finished run, tables made of the records
``plots``                 every figure of results: curves, maps, bars
``checkpoints``           save, resume, list and load; the backbone file
``pictures``              figures made of pictures, and the style of all
``views``                 what a method sees: batched random views, jigsaw patches
``losses``                what lightly lacks: losses, memory bank, queue, prototypes
``targets``               slow copies of a network, for BYOL, MoCo and DINO
``geometry``, ``colors``  crops, flips, blur and colours as small matrices
``data``                  data sets by name: demo | stl10 | cifar10 | folder
``colab``                 where the notebook runs: Drive, files in and out
``folder``                your own images in class folders
``demo``                  draws the demo images
``demo_scenes``           the backgrounds of the demo images
``splits``                the form of every data set: images and labels
``demo_shapes``           what the demo images are drawn of
``backbones``             torchvision's networks without their classifier
``optimizers``            optimizers by name, warm-up and cosine schedule
``randomness``            a step's random numbers, for any number of processes
``view_settings``         the distribution a random view is drawn from
``hardware``              device, precision, and their names for people
``notebook``              questions, and showing source
========================  ========================================================

A module imports only from rows below its own.
"""
