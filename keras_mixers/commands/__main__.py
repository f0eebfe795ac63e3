from keras_mixers.commands import main

main()
