unknown flag --.
