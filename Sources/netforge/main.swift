print("netforge")
